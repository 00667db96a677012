// WsTransport over the library's own sockets: links that fail or are lost, tokens, options.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';
import { rejection } from './support/agents.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';
import { transport_to } from './support/transport.mjs';
import { SvanticError } from 'svantic/mesh';

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.stop());

test('a signal ends a connect with its reason, and it can be tried again', async (t) => {
    const gateway = await Gateway.start({ test: t, faults: { stall: 'welcome' } });
    const { transport } = await transport_to(t, gateway);
    const abort = new AbortController();
    const connecting = rejection(transport.connect({ signal: abort.signal }));
    await wait_for(() => transport.state === 'authenticating', 'the open socket');
    const reason = new Error('enough');
    abort.abort(reason);
    assert.equal(await connecting, reason);
    assert.equal(transport.state, 'disconnected');
    assert.equal(await rejection(transport.connect({ signal: abort.signal })), reason);
    await gateway.set_faults();
    await transport.connect();
    assert.equal(transport.state, 'ready');
});

test('no welcome in time is an error, and it can be tried again', async (t) => {
    const gateway = await Gateway.start({ test: t, faults: { stall: 'welcome' } });
    const { transport } = await transport_to(t, gateway, { auto_reconnect: false, welcome_timeout_ms: 50 });
    assert.ok((await rejection(transport.connect())) instanceof SvanticError);
    assert.equal(transport.state, 'disconnected');
    await gateway.set_faults();
    await transport.connect();
});

test("an instance that is not registered is told with the mesh's code", async (t) => {
    const { transport, instance_id } = await transport_to(t, gateway);
    await gateway.forget(instance_id);
    const error = await rejection(transport.connect());
    assert.deepEqual([error.code, error.http_status], ['INSTANCE_NOT_FOUND', 404]);
});

test('a lost link is made again by itself', async (t) => {
    const { transport, instance_id } = await transport_to(t, gateway, { reconnect_delays_ms: [0] });
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
    const { transport, instance_id } = await transport_to(t, gateway, { auto_reconnect: false });
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
        const { transport, jwt } = await transport_to(t, gateway, { token_provider: () => give() });
        let give = provider;
        const error = await rejection(transport.connect());
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
        const { transport } = await transport_to(t, gateway, { token_provider: () => token });
        const error = await rejection(transport.connect());
        assert.equal(error.code, 'TOKEN_PROVIDER_FAILED');
        assert.ok(error.cause instanceof Error, inspect(error));
    });
}

test('a token_provider is asked again when the mesh has refused its token', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const tokens = [await gateway.issue_token('desk'), await gateway.issue_token('desk')];
    let asked = 0;
    const { transport, instance_id } = await transport_to(t, gateway, {
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
    const { transport } = await transport_to(t, gateway, {
        token_provider: () => 'hush.hush.hush',
        auto_reconnect: false,
    });
    const error = await rejection(transport.connect());
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
            transport_to(t, gateway, options),
            (error) => error instanceof TypeError && said.test(error.message),
        );
    });
}

test('a time without end is a RangeError', async (t) => {
    await assert.rejects(transport_to(t, gateway, { welcome_timeout_ms: Infinity }), {
        name: 'RangeError',
        message: /^`welcome_timeout_ms` is Infinity/,
    });
});

for (const [what, options] of [
    ['a hello without instance_id', { hello: {} }],
    ['no hello', { hello: undefined }],
    ['a token in the clear', { connect_url: 'ws://mesh.example/agents/connect' }],
    ['another scheme', { connect_url: 'https://mesh.example' }],
    ['a time that is none', { welcome_timeout_ms: 'soon' }],
]) {
    test(`${what} is an INVALID_ARGUMENT`, async (t) => {
        await assert.rejects(transport_to(t, gateway, options), {
            name: 'SvanticError',
            status: 'INVALID_ARGUMENT',
        });
    });
}

test('no line, event or error shows a token', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const tokens = [];
    const shown = [];
    const show = (...what) => shown.push(inspect(what, { depth: 9 }));
    const { transport, instance_id } = await transport_to(t, gateway, {
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
    show(await rejection(transport.connect()));
    const text = shown.join('\n');
    assert.match(text, /token_wanted[^]*disconnected[^]*backoff[^]*token_wanted/);
    assert.equal(tokens.length, 2);
    for (const token of tokens) assert.ok(!text.includes(token.split('.')[2]), 'a token was shown');
});
