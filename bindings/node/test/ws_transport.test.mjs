// WsTransport over the library's own sockets, against a real gateway.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';
import { run_node } from './support/child.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';
import { RegistrationClient, SDK_VERSION, SvanticError, WsTransport } from 'svantic/mesh';

let shared;
before(async () => (shared = await Gateway.start()));
after(() => shared.stop());

const HELLO = {
    agent_type: 'desk',
    agent_version: '1.2.3',
    sdk_version: SDK_VERSION,
    agent_card: { name: 'desk' },
};
const now = () => new Date().toISOString();
let number = 0;

/** A registered instance and a transport for it, which is not connected yet. */
async function transport_to(t, { gateway = shared, token, ...options } = {}) {
    const instance_id = `desk-${process.pid}-${(number += 1)}`;
    const jwt = token ?? (await gateway.issue_token('desk'));
    const client = new RegistrationClient({
        svantic_url: gateway.url,
        auth_headers: () => ({ Authorization: `Bearer ${jwt}` }),
    });
    const { connect_url } = await client.register({
        agent_type: 'desk',
        instance_id,
        deployment_mode: 'connected',
    });
    const transport = new WsTransport({
        connect_url,
        token_provider: () => jwt,
        hello: { instance_id, ...HELLO },
        logger: false,
        ...options,
    });
    t.after(() => transport.close());
    return { transport, instance_id, gateway, jwt };
}

async function failure(promise) {
    try {
        await promise;
    } catch (error) {
        return error;
    }
    return assert.fail('it succeeded');
}

const PROGRAM = `
    import { MeshAuth, RegistrationClient, WsTransport } from 'svantic/mesh';
    const { SVANTIC_URL: url, SVANTIC_CLIENT_ID: client_id, SVANTIC_CLIENT_SECRET: client_secret } = process.env;
    const [instance_id, mode] = process.argv.slice(2);
    const token = await MeshAuth.get_token(url, { client_id, client_secret, agent_type: 'desk' });
    const client = new RegistrationClient({ svantic_url: url, auth_headers: () => ({ Authorization: 'Bearer ' + token }) });
    const { connect_url } = await client.register({ agent_type: 'desk', instance_id, deployment_mode: 'connected' });
    const transport = new WsTransport({
        connect_url, token_provider: () => token, auto_reconnect: mode !== 'lost',
        hello: { instance_id, agent_type: 'desk', agent_version: '1', sdk_version: '1', agent_card: {} },
    });
    transport.on_frame(({ id, type }) => type === 'dispatch' && transport.send({ v: 1, type: 'dispatch_result', id: 'r',
        ts: new Date().toISOString(), in_reply_to: id, payload: { result: 'served' } }));
    if (mode !== 'idle') await transport.connect();
    if (mode === 'unref') transport.unref();
    if (mode === 'close') await transport.close();
    if (mode === 'exit') process.exit(0);
    console.log('ready');
`;

const answer = (frame, result) => ({
    v: 1,
    type: 'dispatch_result',
    id: `a-${frame.id}`,
    ts: now(),
    in_reply_to: frame.id,
    payload: { result },
});

test('connect resolves with the welcome, behind a hello of what was given', async (t) => {
    const { transport, instance_id, gateway } = await transport_to(t);
    const frames = [];
    transport.on_frame((frame) => frames.push(frame));
    assert.equal(transport.state, 'disconnected');
    const connecting = transport.connect();
    assert.equal(transport.state, 'connecting');
    assert.equal(await connecting, undefined);
    assert.equal(transport.state, 'ready');
    assert.deepEqual(
        frames.map(({ type, payload }) => [type, payload.resumed]),
        [['welcome', false]],
    );
    const [hello] = await gateway.frames(instance_id);
    assert.deepEqual([hello.content.type, hello.content.payload], ['hello', { instance_id, ...HELLO }]);
    assert.deepEqual(await gateway.violations(), []);
});

test('frames go both ways', async (t) => {
    const { transport, instance_id, gateway } = await transport_to(t);
    transport.on_frame((frame) => {
        if (frame.type === 'dispatch') transport.send(answer(frame, { echo: frame.payload.args }));
    });
    await transport.connect();
    const args = { order_id: 'A17', text: 'ä € 𝄞 "\\' };
    const { result } = await gateway.dispatch('find_order', args, { instance_id });
    assert.deepEqual(result, { echo: args });
});

test('frames reach every callback in their order', async (t) => {
    const { transport, instance_id, gateway } = await transport_to(t);
    const first = [];
    const second = [];
    transport.on_frame(({ id, type }) => type === 'dispatch' && first.push(id));
    await transport.connect();
    transport.on_frame(({ id, type }) => type === 'dispatch' && second.push(id));
    transport.on_frame((frame) => frame.type === 'dispatch' && transport.send(answer(frame, null)));
    const ids = await gateway.dispatch_many('count', {}, { count: 2000, instance_id });
    await gateway.answers(ids);
    assert.deepEqual([first, second], [ids, ids]);
});

test('a callback that throws or rejects is logged and stops no other', async (t) => {
    const lines = [];
    const { transport } = await transport_to(t, { logger: { error: (line) => lines.push(line) } });
    const seen = [];
    transport.on_frame(() => {
        throw new Error('the first');
    });
    transport.on_frame(async () => {
        throw new Error('the second');
    });
    transport.on_frame(({ type }) => seen.push(type));
    await transport.connect();
    await wait_for(() => lines.length === 2, 'two lines');
    assert.deepEqual(seen, ['welcome']);
    assert.match(lines.join('\n'), /callback of on_frame[^]*the first[^]*the second/);
});

test('a callback can be taken off inside a callback', async (t) => {
    const { transport, instance_id, gateway } = await transport_to(t);
    const seen = [];
    const off = transport.on_frame(({ type }) => {
        seen.push(`one ${type}`);
        off();
        off();
        off_two();
        transport.on_frame((frame) => seen.push(`three ${frame.type}`));
    });
    const off_two = transport.on_frame(({ type }) => seen.push(`two ${type}`));
    await transport.connect();
    const pending = gateway.dispatch('x', {}, { instance_id });
    transport.on_frame((frame) => transport.send(answer(frame, 1)));
    await pending;
    assert.deepEqual(seen, ['one welcome', 'three dispatch']);
});

test('one function that is given twice is called twice, and taken off once', async (t) => {
    const { transport } = await transport_to(t);
    let calls = 0;
    const callback = () => (calls += 1);
    const off = [transport.on_frame(callback), transport.on_frame(callback), transport.on_frame(callback)];
    off[1]();
    await transport.connect();
    assert.equal(calls, 2);
});

test('a second connect waits for the same end, and a third has nothing to do', async (t) => {
    const { transport, instance_id, gateway } = await transport_to(t);
    const connecting = transport.connect();
    assert.equal(transport.connect(), connecting);
    await connecting;
    await transport.connect();
    assert.equal((await gateway.agent(instance_id)).welcomes, 1);
});

test('states are told', async (t) => {
    const { transport } = await transport_to(t);
    const states = [];
    transport.on('state', (state) => states.push(state));
    await transport.connect();
    await transport.close();
    assert.deepEqual(states, ['connecting', 'authenticating', 'ready', 'closing', 'closed']);
});

test('a listener that throws stops neither the frames nor the next listener', async (t) => {
    const lines = [];
    const { transport } = await transport_to(t, { logger: { error: (line) => lines.push(line) } });
    const seen = [];
    transport.on('state', () => {
        throw new Error('mine');
    });
    transport.on('state', (state) => seen.push(state));
    await transport.connect();
    assert.equal(seen.at(-1), 'ready');
    assert.match(lines[0], /mine/);
});

test('before the welcome nothing can be sent', async (t) => {
    const { transport } = await transport_to(t);
    const error = await failure((async () => transport.send(answer({ id: 'x' }, 1)))());
    assert.deepEqual([error instanceof SvanticError, error.status], [true, 'INVALID_STATE']);
});

for (const [what, frame] of [
    ['a text', '{}'],
    ['null', null],
    ['undefined', undefined],
    ['a number', 7],
    ['a function', () => {}],
    ['an object that is no JSON', { toJSON: () => undefined }],
    ['a BigInt within', { x: 1n }],
]) {
    test(`${what} is no frame, and harms nothing`, async (t) => {
        const { transport } = await transport_to(t);
        await transport.connect();
        assert.throws(() => transport.send(frame), TypeError);
        assert.equal(transport.state, 'ready');
    });
}

test('an array is no frame', async (t) => {
    const { transport } = await transport_to(t);
    await transport.connect();
    assert.throws(() => transport.send([]), { status: 'INVALID_JSON' });
});

test('close says its code and reason', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const { transport, instance_id } = await transport_to(t, { gateway });
    await transport.connect();
    await transport.close(4001, 'änd');
    assert.equal(transport.state, 'closed');
    const sent = await wait_for(async () => {
        const frames = await gateway.frames(instance_id);
        return frames.find(({ direction, frame }) => direction === 'from_agent' && frame === 'close');
    }, 'the close frame');
    assert.equal(sent.content, '4001 änd');
    assert.equal((await gateway.agent(instance_id)).registered, true, 'a transport deregisters nothing');
});

test('closing is final, and closing twice is no error', async (t) => {
    const { transport } = await transport_to(t);
    await transport.connect();
    const closing = transport.close();
    assert.equal(transport.close(), closing);
    await closing;
    await transport.close();
    assert.equal((await failure(transport.connect())).status, 'INVALID_STATE');
    assert.throws(() => transport.send({}), { status: 'INVALID_STATE' });
});

test('one that was never connected closes', async (t) => {
    const { transport } = await transport_to(t);
    await transport.close();
    assert.equal(transport.state, 'closed');
    assert.equal((await failure(transport.connect())).status, 'INVALID_STATE');
});

test('a code or a reason that cannot be is refused, and nothing is closed', async (t) => {
    const { transport } = await transport_to(t);
    await transport.connect();
    for (const how of [[1006], [70_000], [1000, 'x'.repeat(124)]]) {
        assert.equal((await failure(transport.close(...how))).status, 'INVALID_ARGUMENT', how.join());
    }
    assert.equal(transport.state, 'ready');
});

test('close during connect rejects the connect', async (t) => {
    const gateway = await Gateway.start({ test: t, faults: { stall: 'welcome' } });
    const { transport } = await transport_to(t, { gateway });
    const connecting = failure(transport.connect());
    await wait_for(() => transport.state === 'authenticating', 'the open socket');
    await transport.close();
    assert.equal((await connecting).status, 'CANCELLED');
});

test('await using closes it', async (t) => {
    const { transport } = await transport_to(t);
    await transport.connect();
    await transport[Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]();
    assert.equal(transport.state, 'closed');
});

test('a signal ends a connect with its reason, and it can be tried again', async (t) => {
    const gateway = await Gateway.start({ test: t, faults: { stall: 'welcome' } });
    const { transport } = await transport_to(t, { gateway });
    const abort = new AbortController();
    const connecting = failure(transport.connect({ signal: abort.signal }));
    await wait_for(() => transport.state === 'authenticating', 'the open socket');
    const reason = new Error('enough');
    abort.abort(reason);
    assert.equal(await connecting, reason);
    assert.equal(transport.state, 'disconnected');
    assert.equal(await failure(transport.connect({ signal: abort.signal })), reason);
    await gateway.set_faults();
    await transport.connect();
    assert.equal(transport.state, 'ready');
});

test('no welcome in time is an error, and it can be tried again', async (t) => {
    const gateway = await Gateway.start({ test: t, faults: { stall: 'welcome' } });
    const { transport } = await transport_to(t, { gateway, auto_reconnect: false, welcome_timeout_ms: 50 });
    assert.ok((await failure(transport.connect())) instanceof SvanticError);
    assert.equal(transport.state, 'disconnected');
    await gateway.set_faults();
    await transport.connect();
});

test("an instance that is not registered is told with the mesh's code", async (t) => {
    const { transport, instance_id, gateway } = await transport_to(t);
    await gateway.forget(instance_id);
    const error = await failure(transport.connect());
    assert.deepEqual([error.code, error.http_status], ['INSTANCE_NOT_FOUND', 404]);
});

test('a lost link is made again by itself', async (t) => {
    const { transport, instance_id, gateway } = await transport_to(t, { reconnect_delays_ms: [0] });
    const welcomes = [];
    const events = [];
    transport.on_frame(({ type }) => type === 'welcome' && welcomes.push(type));
    transport
        .on('disconnected', () => events.push('disconnected'))
        .on('connected', () => events.push('connected'));
    await transport.connect();
    await gateway.abort(instance_id);
    await gateway.wait_ready(instance_id, { welcomes: 2 });
    await wait_for(() => welcomes.length === 2 && transport.state === 'ready', 'the second welcome');
    assert.deepEqual(events, ['connected', 'disconnected', 'connected']);
});

test('without auto_reconnect it is disconnected, and connects anew', async (t) => {
    const { transport, instance_id, gateway } = await transport_to(t, { auto_reconnect: false });
    await transport.connect();
    const lost = new Promise((resolve) => transport.once('disconnected', resolve));
    await gateway.close(instance_id, 1012, 'restart');
    assert.equal((await lost).code, 1012);
    await wait_for(() => transport.state === 'disconnected', 'the end of the link');
    await transport.connect();
    assert.equal((await gateway.agent(instance_id)).welcomes, 2);
});

for (const [what, provider] of [
    [
        'throws',
        () => {
            throw new RangeError('no login');
        },
    ],
    [
        'rejects',
        async () => {
            throw new RangeError('no login');
        },
    ],
]) {
    test(`a token_provider that ${what} rejects the connect with the cause`, async (t) => {
        const { transport, jwt } = await transport_to(t, { token_provider: () => give() });
        let give = provider;
        const error = await failure(transport.connect());
        assert.deepEqual(
            [error.status, error.code, error.cause.message],
            ['AUTH', 'TOKEN_PROVIDER_FAILED', 'no login'],
        );
        assert.equal(transport.state, 'disconnected');
        give = async () => jwt;
        await transport.connect();
    });
}

for (const [what, token] of [
    ['nothing', undefined],
    ['a number', 7],
    ['an empty text', ''],
    ['two lines', 'a\nb'],
]) {
    test(`a token_provider that gives ${what} rejects the connect`, async (t) => {
        const { transport } = await transport_to(t, { token_provider: () => token });
        const error = await failure(transport.connect());
        assert.equal(error.code, 'TOKEN_PROVIDER_FAILED');
        assert.ok(error.cause instanceof Error, inspect(error));
    });
}

test('a token_provider is asked again when the mesh has refused its token', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const tokens = [await gateway.issue_token('desk'), await gateway.issue_token('desk')];
    let asked = 0;
    const { transport, instance_id } = await transport_to(t, {
        gateway,
        reconnect_delays_ms: [0],
        token_provider: async () => tokens[Math.min(asked++, 1)],
    });
    await transport.connect();
    assert.equal(asked, 1);
    await gateway.set_faults({
        refuse: [{ endpoint: 'connect', status: 401, code: 'UNAUTHORIZED', times: 1 }],
    });
    await gateway.abort(instance_id);
    await gateway.wait_ready(instance_id, { welcomes: 2 });
    assert.equal(asked, 2);
});

test('a token that the mesh goes on refusing fails the connect', async (t) => {
    const { transport } = await transport_to(t, {
        token_provider: () => 'hush.hush.hush',
        auto_reconnect: false,
    });
    const error = await failure(transport.connect());
    assert.equal(error.status, 'AUTH');
    assert.doesNotMatch(inspect(error), /hush/);
});

for (const [what, options, said] of [
    ['no connect_url', { connect_url: undefined }, /connect_url/],
    ['a token_provider that is no function', { token_provider: 'jwt' }, /token_provider/],
    ['a socket_factory that is no function', { socket_factory: {} }, /socket_factory/],
    ['an unknown option', { welcome_timeout: 1 }, /welcome_timeout_ms/],
    ['a logger that is none', { logger: 'x' }, /logger/],
]) {
    test(`${what} is a TypeError`, async (t) => {
        await assert.rejects(
            transport_to(t, options),
            (error) => error instanceof TypeError && said.test(error.message),
        );
    });
}

for (const [what, options] of [
    ['a hello without instance_id', { hello: {} }],
    ['no hello', { hello: undefined }],
    ['a token in the clear', { connect_url: 'ws://mesh.example/agents/connect' }],
    ['another scheme', { connect_url: 'https://mesh.example' }],
    ['a time that is none', { welcome_timeout_ms: 'soon' }],
]) {
    test(`${what} is an INVALID_ARGUMENT`, async (t) => {
        await assert.rejects(transport_to(t, options), { name: 'SvanticError', status: 'INVALID_ARGUMENT' });
    });
}

test('no line, event or error shows a token', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const tokens = [];
    const shown = [];
    const show = (...what) => shown.push(inspect(what, { depth: 9 }));
    const { transport, instance_id } = await transport_to(t, {
        gateway,
        reconnect_delays_ms: [0],
        logger: { debug: show, info: show, warn: show, error: show },
        token_provider: async () => {
            tokens.push(await gateway.issue_token('desk'));
            return tokens.at(-1);
        },
    });
    const names = ['state', 'token_wanted', 'token_refreshed', 'connected', 'disconnected', 'backoff', 'log'];
    for (const name of names) transport.on(name, (data) => show(name, data));
    await transport.connect();
    const refusal = { endpoint: 'connect', times: 1 };
    await gateway.set_faults({
        refuse: [
            { ...refusal, status: 503, body: `no ${tokens[0]}` },
            { ...refusal, status: 401, body: `no ${tokens[0]}` },
        ],
    });
    await gateway.abort(instance_id);
    await gateway.wait_ready(instance_id, { welcomes: 2 });
    show(transport);
    await transport.close();
    show(await failure(transport.connect()));
    const text = shown.join('\n');
    assert.match(text, /token_wanted[^]*disconnected[^]*backoff[^]*token_wanted/);
    assert.equal(tokens.length, 2);
    for (const token of tokens) assert.ok(!text.includes(token.split('.')[2]), 'a token was shown');
});

test('a transport that nobody holds is collected', async (t) => {
    const program = run_node(
        t,
        `
        import { WsTransport } from 'svantic/mesh';
        const options = {
            connect_url: 'wss://mesh.test/x', token_provider: () => 'tok', hello: { instance_id: 'i' }, logger: false,
            auto_reconnect: false, socket_factory: () => { throw new Error('no socket'); },
        };
        const make = async (used) => {
            const transport = new WsTransport(options);
            transport.on_frame(() => transport.state);
            if (used) await transport.connect().catch(() => {});
            return new WeakRef(transport);
        };
        const made = [await make(false), await make(true)];
        while (made.some((transport) => transport.deref())) {
            await new Promise((resolve) => setImmediate(resolve));
            globalThis.gc();
        }
        console.log('collected');
    `,
        { gateway: shared, flags: ['--expose-gc'] },
    );
    assert.equal(await program.wait(), 0, program.story());
    assert.equal(program.stdout, 'collected');
});

test('a worker that ends takes its transports along', async (t) => {
    const program = run_node(
        t,
        `
        import { Worker } from 'node:worker_threads';
        const worker = new Worker(new URL('./worker.mjs', import.meta.url), { argv: process.argv.slice(2) });
        worker.on('message', async () => {
            console.log('ready');
            await worker.terminate();
            console.log('terminated');
            process.stdin.once('data', () => process.exit(0));
        });
    `,
        {
            gateway: shared,
            args: ['in-a-worker'],
            files: {
                'worker.mjs': `${PROGRAM}\nimport { parentPort } from 'node:worker_threads'; parentPort.postMessage(1);`,
            },
        },
    );
    await program.wait_line('terminated');
    await wait_for(
        async () => (await shared.agent('in-a-worker')).open_sockets === 0,
        'the end of its socket',
    );
    program.say();
    assert.equal(await program.wait(), 0, program.story());
});

for (const mode of ['idle', 'unref', 'close', 'exit']) {
    test(`a process ends by itself with a transport: ${mode}`, async (t) => {
        const program = run_node(t, PROGRAM, { gateway: shared, args: [`life-${mode}`, mode] });
        assert.equal(await program.wait(), 0, program.story());
    });
}

test('a process stays while a transport is connected, and ends when its link is lost for good', async (t) => {
    const program = run_node(t, PROGRAM, { gateway: shared, args: ['life-lost', 'lost'] });
    await program.wait_line('ready');
    // Round trips instead of a wait: it has had every opportunity to end.
    for (let count = 0; count < 20; count += 1) {
        assert.equal((await shared.dispatch('x', {}, { instance_id: 'life-lost' })).result, 'served');
    }
    assert.ok(program.running);
    await shared.close('life-lost', 1012);
    assert.equal(await program.wait(), 0, program.story());
});
