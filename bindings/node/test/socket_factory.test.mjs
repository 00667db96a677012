// WsTransport over sockets that the application makes: test doubles and other libraries' sockets.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wait_for } from './support/gateway.mjs';
import { HELLO, NOW, WELCOME, frame, transport_over, welcoming } from './support/socket_double.mjs';

test('the factory is given the URL with the instance, the token and the subprotocol', async (t) => {
    const { transport, sockets } = transport_over(t, welcoming);
    await transport.connect();
    const { url, headers } = sockets[0];
    assert.equal(url, 'wss://mesh.test/agents/connect?instance_id=desk-1');
    assert.deepEqual(headers, { Authorization: 'Bearer tok', 'Sec-WebSocket-Protocol': 'svantic.v1' });
});

test('hello is the first frame, with what was given', async (t) => {
    const { transport, sockets } = transport_over(t, welcoming, {
        uuid_impl: () => 'id-1',
        now_iso: () => NOW,
    });
    await transport.connect();
    assert.deepEqual(sockets[0].frames, [{ v: 1, type: 'hello', id: 'id-1', ts: NOW, payload: HELLO }]);
});

test('a double that opens in a microtask and welcomes later connects', async (t) => {
    const { transport, sockets } = transport_over(t, (socket) => queueMicrotask(() => socket.open()));
    const connecting = transport.connect();
    await wait_for(() => sockets[0]?.sent.length, 'hello');
    assert.equal(transport.state, 'authenticating');
    sockets[0].push(WELCOME);
    await connecting;
    assert.equal(transport.state, 'ready');
});

test('a welcome right behind open, before the double has looked at hello, connects', async (t) => {
    const { transport, sockets } = transport_over(t, (socket) =>
        queueMicrotask(() => {
            socket.emit('open'); // its readyState is late
            socket.push(WELCOME);
            socket.readyState = 1;
        }),
    );
    await transport.connect();
    assert.deepEqual([transport.state, sockets[0].frames.map(({ type }) => type)], ['ready', ['hello']]);
});

test('a welcome in a microtask from inside send(hello) connects', async (t) => {
    const { transport } = transport_over(t, (socket) => {
        socket.send = (data) => {
            socket.sent.push(data);
            if (JSON.parse(data).type === 'hello') queueMicrotask(() => socket.push(WELCOME));
        };
        queueMicrotask(() => socket.open());
    });
    await transport.connect();
    assert.equal(transport.state, 'ready');
});

test('a welcome from inside send(hello) connects', async (t) => {
    const { transport } = transport_over(t, (socket) => {
        socket.send = () => socket.push(WELCOME);
        queueMicrotask(() => socket.open());
    });
    await transport.connect();
    assert.equal(transport.state, 'ready');
});

test('a double that is open before anybody listens connects', async (t) => {
    const { transport } = transport_over(t, (socket) => {
        socket.readyState = 1;
        queueMicrotask(() => socket.push(WELCOME));
    });
    await transport.connect();
    assert.equal(transport.state, 'ready');
});

test('a frame is with the socket when send returns', async (t) => {
    const { transport, sockets } = transport_over(t, welcoming);
    await transport.connect();
    const heartbeat = frame('heartbeat', { status: 'available', text: 'ä\u0000\ud800"' });
    transport.send(heartbeat);
    assert.equal(sockets[0].sent.at(-1), JSON.stringify(heartbeat));
});

test('a frame that a callback sends is with the socket when send returns', async (t) => {
    const { transport, sockets } = transport_over(t, welcoming);
    const seen = [];
    transport.on_frame((given) => {
        if (given.type !== 'dispatch') return;
        transport.send(frame('dispatch_result', { result: 1 }, { in_reply_to: given.id }));
        seen.push(sockets[0].frames.at(-1).type);
    });
    await transport.connect();
    sockets[0].push(frame('dispatch', { skill_id: 's' }));
    assert.deepEqual(seen, ['dispatch_result']);
});

test('frames keep their order for every callback, also when one is answered by the next', async (t) => {
    const { transport } = transport_over(t, (socket) => {
        socket.send = (data) => {
            const { type, payload } = JSON.parse(data);
            if (type === 'ask') socket.push(frame('told', { number: payload.number + 1 }));
        };
        welcoming(socket);
    });
    const seen = { first: [], second: [] };
    transport.on_frame(({ type, payload: { number } }) => {
        if (type !== 'told') return;
        seen.first.push(number);
        if (number < 3) transport.send(frame('ask', { number }));
    });
    transport.on_frame(({ type, payload: { number } }) => type === 'told' && seen.second.push(number));
    await transport.connect();
    transport.send(frame('ask', { number: 0 }));
    assert.deepEqual(seen, { first: [1, 2, 3], second: [1, 2, 3] });
});

const forms = {
    'a string': (text) => text,
    'a Buffer': (text) => Buffer.from(text),
    'an ArrayBuffer': (text) => new Uint8Array(Buffer.from(text)).buffer,
    'a part of other bytes': (text) => new Uint8Array(Buffer.from(`xx${text}`)).subarray(2),
    Buffers: (text) => [Buffer.from(text).subarray(0, 40), Buffer.from(text).subarray(40)],
    'an event with data': (text) => ({ data: text }),
    'an event with bytes': (text) => ({ data: Buffer.from(text) }),
};
for (const [what, form] of Object.entries(forms)) {
    test(`a message may be ${what}`, async (t) => {
        const { transport, sockets } = transport_over(t, welcoming);
        const seen = [];
        transport.on_frame((given) => seen.push(given));
        await transport.connect();
        const told = frame('told', { text: 'ä €' });
        sockets[0].emit('message', form(JSON.stringify(told)));
        assert.deepEqual(seen, [WELCOME, told]);
    });
}

test('what is no JSON harms nothing', async (t) => {
    const { transport, sockets } = transport_over(t, welcoming);
    const seen = [];
    await transport.connect();
    transport.on_frame(({ type }) => seen.push(type));
    for (const message of ['', 'x', '[1]', '7', undefined, null, 7, Symbol('x')])
        sockets[0].emit('message', message);
    sockets[0].push(frame('told'));
    assert.deepEqual([transport.state, seen], ['ready', ['told']]);
});

test('half a character in what a double says is replaced, and harms nothing', async (t) => {
    const { transport, sockets } = transport_over(t, (socket, number) => number === 1 && welcoming(socket));
    const seen = [];
    await transport.connect();
    transport.on_frame(({ payload }) => seen.push(payload.text));
    sockets[0].push(JSON.stringify(frame('told', { text: 'x' })).replace('"x"', '"\ud800"'));
    assert.deepEqual([transport.state, seen], ['ready', ['\ufffd']]);
    sockets[0].emit('close', 1012, '\ud800');
    assert.equal(transport.state, 'disconnected');
    const connecting = transport.connect();
    await wait_for(() => sockets.length === 2, 'another socket');
    sockets[1].emit('error', new Error('broken \ud800'));
    await assert.rejects(connecting, { status: 'NETWORK', message: /broken \ufffd/ });
});
