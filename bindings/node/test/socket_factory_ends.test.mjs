// WsTransport over sockets that the application makes: how links fail and end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejection } from './support/agents.mjs';
import { wait_for } from './support/gateway.mjs';
import { Double, HELLO, WELCOME, frame, transport_over, welcoming } from './support/socket_double.mjs';
import { SvanticError } from 'svantic/mesh';

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
    [
        'returns a promise that rejects',
        async () => {
            throw new Error('no port');
        },
    ],
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

test('while a lost link waits to be made again, connect is refused and close ends it', async (t) => {
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

test('a socket that the factory returns when it has closed the transport is closed', async (t) => {
    const { transport, sockets } = transport_over(t, () => void transport.close());
    await assert.rejects(transport.connect(), { status: 'CANCELLED' });
    assert.deepEqual([transport.state, sockets[0].closed_with.length], ['closed', 1]);
});

test('a listener that hears of a lost link connects anew, before the connect has told its end', async (t) => {
    const { transport, sockets } = transport_over(t, (socket, number) => {
        welcoming(socket);
        if (number === 1) queueMicrotask(() => socket.emit('close', 1012, 'restart'));
    });
    let again;
    transport.once('disconnected', () => (again = transport.connect()));
    await transport.connect();
    await again;
    assert.deepEqual([transport.state, sockets.length], ['ready', 2]);
});

test('a listener that hears of a failed attempt connects anew, before the connect has rejected', async (t) => {
    const { transport, sockets } = transport_over(t, (socket, number) => {
        if (number > 1) welcoming(socket);
        else queueMicrotask(() => socket.emit('close', 1012, 'restart'));
    });
    let again;
    transport.on('state', (state) => {
        if (state === 'disconnected') again ??= transport.connect();
    });
    await assert.rejects(transport.connect(), { status: 'NETWORK' });
    await again;
    assert.deepEqual([transport.state, sockets.length], ['ready', 2]);
});

test('the reason of a signal is what connect rejects with, also when the factory throws', async (t) => {
    const given_up = new AbortController();
    const { transport } = transport_over(t, undefined, {
        auto_reconnect: true,
        socket_factory() {
            queueMicrotask(() => given_up.abort(reason));
            throw new Error('no socket');
        },
    });
    const reason = Object.freeze(new Error('enough'));
    assert.equal(await rejection(transport.connect({ signal: given_up.signal })), reason);
});
