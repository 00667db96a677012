// WsTransport over sockets that the application makes: test doubles and other libraries' sockets.
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { wait_for } from './support/gateway.mjs';
import { SvanticError, WsTransport } from 'svantic/mesh';

const NOW = '2026-05-01T08:00:00.000Z';
const frame = (type, payload = {}, more = {}) => ({ v: 1, type, id: `${type}-1`, ts: NOW, payload, ...more });
const WELCOME = frame('welcome', { resumed: false, server_time: NOW });
const HELLO = {
    instance_id: 'desk-1',
    agent_type: 'desk',
    agent_version: '1.0.0',
    sdk_version: '0.1.0',
    agent_card: { name: 'desk' },
};

/** A socket in the style of `ws`, as tests of programs have them. */
class Double extends EventEmitter {
    readyState = 0;
    sent = [];
    closed_with = [];

    constructor(url, headers) {
        super();
        Object.assign(this, { url, headers });
    }

    send(data) {
        this.sent.push(data);
    }

    close(...how) {
        this.closed_with.push(how);
        this.readyState = 3;
        this.emit('close', 1000, 'closed');
    }

    open() {
        this.readyState = 1;
        this.emit('open');
    }

    push(value) {
        this.emit('message', typeof value === 'string' ? value : JSON.stringify(value));
    }

    get frames() {
        return this.sent.map((text) => JSON.parse(text));
    }
}

/** A transport over doubles; `on_socket` is told of each one that it asks for. */
function transport_over(t, on_socket, options = {}) {
    const sockets = [];
    const transport = new WsTransport({
        connect_url: 'wss://mesh.test/agents/connect',
        token_provider: () => 'tok',
        hello: HELLO,
        logger: false,
        auto_reconnect: false,
        socket_factory: (url, headers) => {
            const socket = new Double(url, headers);
            sockets.push(socket);
            on_socket?.(socket, sockets.length);
            return socket;
        },
        ...options,
    });
    t.after(() => transport.close());
    return { transport, sockets };
}

/** One that opens and welcomes by itself. */
const welcoming = (socket) =>
    queueMicrotask(() => {
        socket.open();
        socket.push(WELCOME);
    });

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

test('close has its code and reason, and ends with a double that emits close from inside', async (t) => {
    const { transport, sockets } = transport_over(t, welcoming);
    await transport.connect();
    const states = [];
    transport.on('state', (state) => states.push(state));
    const closing = transport.close(1000, 'client_close');
    assert.match(transport.state, /^clos/);
    await closing;
    assert.deepEqual(sockets[0].closed_with, [[1000, 'client_close']]);
    assert.deepEqual([transport.state, states], ['closed', ['closing', 'closed']]);
    assert.throws(() => transport.send(frame('heartbeat')), { status: 'INVALID_STATE' });
    await transport.close();
});

test('close ends also when the double never says that it is closed', async (t) => {
    const { transport, sockets } = transport_over(t, (socket) => {
        socket.close = (...how) => socket.closed_with.push(how);
        welcoming(socket);
    });
    await transport.connect();
    await transport.close(3001, 'bye');
    assert.deepEqual([transport.state, sockets[0].closed_with[0]], ['closed', [3001, 'bye']]);
});

test('close during connect rejects the connect and closes the socket', async (t) => {
    const { transport, sockets } = transport_over(t);
    const connecting = transport.connect();
    await wait_for(() => sockets.length, 'a socket');
    const outcome = assert.rejects(connecting, { name: 'SvanticError', status: 'CANCELLED' });
    await transport.close();
    await outcome;
    assert.deepEqual([transport.state, sockets[0].closed_with.length], ['closed', 1]);
});

test('without auto_reconnect a lost link is disconnected, and connects anew', async (t) => {
    const { transport, sockets } = transport_over(t, welcoming);
    await transport.connect();
    const lost = new Promise((resolve) => transport.once('disconnected', resolve));
    sockets[0].close();
    assert.equal((await lost).code, 1000);
    assert.equal(transport.state, 'disconnected');
    await transport.connect();
    assert.deepEqual([transport.state, sockets.length], ['ready', 2]);
});

test('with auto_reconnect a lost link is made again, with a hello of its own', async (t) => {
    const { transport, sockets } = transport_over(t, welcoming, {
        auto_reconnect: true,
        reconnect_delays_ms: [0],
        uuid_impl: () => 'id-1',
    });
    await transport.connect();
    sockets[0].emit('close', 1012, Buffer.from('restart'));
    await wait_for(() => sockets.length === 2 && transport.state === 'ready', 'another link');
    const [first, second] = sockets.map((socket) => socket.frames[0]);
    assert.deepEqual([first.id, second.payload], ['id-1', HELLO]);
    assert.notEqual(second.id, 'id-1');
    transport.send(frame('heartbeat'));
    assert.equal(sockets[1].frames.at(-1).type, 'heartbeat');
});

test('a late word of an old socket is not heard', async (t) => {
    const { transport, sockets } = transport_over(t, welcoming, {
        auto_reconnect: true,
        reconnect_delays_ms: [0],
    });
    await transport.connect();
    const old = sockets[0];
    old.emit('error', new Error('reset by peer'));
    await wait_for(() => sockets.length === 2 && transport.state === 'ready', 'another link');
    const seen = [];
    transport.on_frame((given) => seen.push(given));
    old.push(frame('told'));
    old.emit('open');
    old.emit('error', new Error('again'));
    old.emit('close', 1006, '');
    assert.deepEqual([transport.state, seen, sockets.length], ['ready', [], 2]);
});

test('no welcome in time rejects', async (t) => {
    const { transport, sockets } = transport_over(t, (socket) => queueMicrotask(() => socket.open()), {
        welcome_timeout_ms: 50,
    });
    await assert.rejects(transport.connect(), SvanticError);
    assert.deepEqual([transport.state, sockets[0].readyState], ['disconnected', 3]);
});

test('a socket that cannot be opened rejects with what it said', async (t) => {
    const { transport } = transport_over(t, (socket) =>
        queueMicrotask(() => {
            socket.emit('error', new Error('connect ECONNREFUSED'));
            socket.emit('close', 1006, '');
        }),
    );
    await assert.rejects(transport.connect(), { status: 'NETWORK', message: /ECONNREFUSED/ });
    assert.equal(transport.state, 'disconnected');
});

test('a socket that is closed before it is open rejects', async (t) => {
    const { transport } = transport_over(t, (socket) => queueMicrotask(() => socket.close()));
    await assert.rejects(transport.connect(), { status: 'NETWORK' });
});

test('a socket that throws in send loses the link and nothing else', async (t) => {
    const { transport, sockets } = transport_over(t, welcoming);
    await transport.connect();
    sockets[0].send = () => {
        throw new Error('not open');
    };
    transport.send(frame('heartbeat'));
    assert.equal(transport.state, 'disconnected');
});

for (const [what, made] of [
    [
        'throws',
        () => {
            throw new RangeError('no port');
        },
    ],
    ['returns nothing', () => undefined],
    ['returns a promise', async () => new Double()],
    ['returns something else', () => ({ readyState: 0, send() {}, close() {} })],
]) {
    test(`a factory that ${what} rejects the connect with the cause`, async (t) => {
        const { transport } = transport_over(t, undefined, { socket_factory: made });
        await assert.rejects(transport.connect(), (error) => {
            assert.ok(error instanceof SvanticError, String(error));
            assert.ok(
                error.cause instanceof (what === 'throws' ? RangeError : TypeError),
                String(error.cause),
            );
            return true;
        });
    });
}

test('a refusal that `ws` words with 401 asks for another token', async (t) => {
    const tokens = ['old', 'new'];
    const { transport, sockets } = transport_over(
        t,
        (socket) => {
            if (socket.headers.Authorization === 'Bearer new') welcoming(socket);
            else queueMicrotask(() => socket.emit('error', new Error('Unexpected server response: 401')));
        },
        { token_provider: async () => tokens.shift(), auto_reconnect: true, reconnect_delays_ms: [0] },
    );
    await transport.connect();
    assert.deepEqual(
        sockets.map(({ headers }) => headers.Authorization),
        ['Bearer old', 'Bearer new'],
    );
});

test('a socket like those of browsers will do', async (t) => {
    class Browser extends EventTarget {
        readyState = 0;
        sent = [];
        send(data) {
            this.sent.push(data);
        }
        close(code) {
            if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999))
                throw new RangeError('code');
            this.readyState = 3;
            this.tell('close', { code: code ?? 1005, reason: '' });
        }
        tell(type, fields) {
            this.dispatchEvent(Object.assign(new Event(type), fields));
        }
    }
    const socket = new Browser();
    const { transport } = transport_over(t, undefined, {
        socket_factory: () => {
            queueMicrotask(() => {
                socket.readyState = 1;
                socket.tell('open');
                socket.tell('message', { data: JSON.stringify(WELCOME) });
            });
            return socket;
        },
    });
    await transport.connect();
    transport.send(frame('heartbeat'));
    assert.deepEqual(
        socket.sent.map((text) => JSON.parse(text).type),
        ['hello', 'heartbeat'],
    );
    await transport.close(1001, 'going away');
    assert.deepEqual([transport.state, socket.readyState], ['closed', 3]);
});

test('close during connect resolves each time, whoever asks for the items first', async (t) => {
    for (let round = 0; round < 100; round += 1) {
        const { transport, sockets } = transport_over(t);
        const connecting = assert.rejects(transport.connect(), { status: 'CANCELLED' });
        await wait_for(() => sockets.length, 'a socket');
        await transport.close();
        await connecting;
        assert.equal(transport.state, 'closed');
    }
});

test('while a lost link waits to be made again, connect has nothing to start and close ends it', async (t) => {
    const { transport, sockets } = transport_over(t, welcoming, {
        auto_reconnect: true,
        reconnect_delays_ms: [3_600_000],
    });
    await transport.connect();
    sockets[0].emit('close', 1006, '');
    assert.equal(transport.state, 'connecting');
    assert.throws(() => transport.send(frame('heartbeat')), { status: 'INVALID_STATE', retryable: true });
    await assert.rejects(transport.connect(), { status: 'INVALID_STATE' });
    await transport.close();
    assert.deepEqual([transport.state, sockets.length], ['closed', 1]);
});

test('a token that comes when the transport has been closed is not missed', async (t) => {
    const lines = [];
    let give;
    const { transport, sockets } = transport_over(t, undefined, {
        token_provider: () => new Promise((resolve) => (give = resolve)),
        logger: { warn: (line) => lines.push(line), error: (line) => lines.push(line) },
    });
    const connecting = assert.rejects(transport.connect(), { status: 'CANCELLED' });
    const closing = transport.close();
    give('tok');
    await Promise.all([connecting, closing]);
    assert.deepEqual([lines, sockets], [[], []]);
});
