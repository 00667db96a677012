// MeshAuth.get_token against a real gateway.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';
import { rejection } from './support/agents.mjs';
import { run_node } from './support/child.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';
import { MeshAuth, SvanticError } from 'svantic/mesh';

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.stop());

const credentials = (more = {}) => ({
    client_id: gateway.client_id,
    client_secret: gateway.client_secret,
    agent_type: 'desk',
    ...more,
});
const quiet = { logger: false };
const claims_of = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));

test('a token is a JWT for the agent type', async () => {
    const token = await MeshAuth.get_token(gateway.url, credentials());
    const { agent_type, iat, exp } = claims_of(token);
    assert.deepEqual([agent_type, exp - iat], ['desk', 86_400]);
});

test('what is sent is what was given', async () => {
    const before_it = (await gateway.requests()).length;
    await MeshAuth.get_token(`${gateway.url}/`, credentials());
    const [{ path, body }, ...more] = (await gateway.requests()).slice(before_it);
    assert.deepEqual(
        [path, Object.keys(body).sort(), more],
        ['/auth/get_token', ['agent_type', 'client_id', 'client_secret'], []],
    );
    assert.equal(body.agent_type, 'desk');
});

test('expires_in is the life of the token', async () => {
    const { iat, exp } = claims_of(await MeshAuth.get_token(gateway.url, credentials({ expires_in: 90 })));
    assert.equal(exp - iat, 90);
});

test('an expires_in that the mesh refuses is an error with its status', async () => {
    const error = await rejection(MeshAuth.get_token(gateway.url, credentials({ expires_in: -1 }), quiet));
    assert.deepEqual([error.status, error.http_status], ['REMOTE', 400]);
});

test('a wrong secret is an error that says so and does not show it', async () => {
    const secret = 'hush-a-wrong-secret';
    const error = await rejection(
        MeshAuth.get_token(gateway.url, credentials({ client_secret: secret }), quiet),
    );
    assert.ok(error instanceof SvanticError);
    assert.deepEqual([error.status, error.code, error.http_status], ['AUTH', 'UNAUTHORIZED', 401]);
    assert.doesNotMatch(inspect(error), /hush/);
});

test('a failure that may pass says so', async (t) => {
    const own = await Gateway.start({
        test: t,
        faults: { refuse: [{ endpoint: 'token', status: 503, times: 1 }] },
    });
    const given = { ...own.config(), agent_type: 'desk' };
    const error = await rejection(MeshAuth.get_token(own.url, given, quiet));
    assert.deepEqual([error.http_status, error.retryable], [503, true]);
    assert.match(await MeshAuth.get_token(own.url, given, quiet), /^ey/);
});

test('a mesh that never answers is a timeout', async (t) => {
    const own = await Gateway.start({ test: t, faults: { stall: 'token' } });
    const given = { ...own.config(), agent_type: 'desk' };
    const error = await rejection(MeshAuth.get_token(own.url, given, { ...quiet, timeout_ms: 50 }));
    assert.equal(error.status, 'TIMEOUT');
});

test('a signal ends it with its reason', async (t) => {
    const own = await Gateway.start({ test: t, faults: { stall: 'token' } });
    const given = { ...own.config(), agent_type: 'desk' };
    const abort = new AbortController();
    const pending = rejection(MeshAuth.get_token(own.url, given, { ...quiet, signal: abort.signal }));
    await wait_for(async () => (await own.requests()).length, 'the request');
    const reason = new Error('enough');
    abort.abort(reason);
    assert.equal(await pending, reason);
    assert.equal(await rejection(MeshAuth.get_token(own.url, given, { signal: abort.signal })), reason);
});

test('nobody there is a network error', async () => {
    const server = http.createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    const error = await rejection(MeshAuth.get_token(`http://127.0.0.1:${port}`, credentials(), quiet));
    assert.deepEqual([error.status, error.retryable], ['NETWORK', true]);
});

test('an address that must not see a secret is refused before anything is sent', async () => {
    const error = await rejection(MeshAuth.get_token('http://mesh.example', credentials(), quiet));
    assert.equal(error.status, 'INVALID_ARGUMENT');
});

for (const [what, given] of [
    ['client_id', { client_id: undefined }],
    ['client_secret', { client_secret: undefined }],
    ['client_secret', { client_secret: '' }],
    ['agent_type', { agent_type: 7 }],
]) {
    test(`no ${what} (${inspect(given[what])}) is a TypeError, whatever the environment has`, async () => {
        process.env.SVANTIC_CLIENT_ID = gateway.client_id;
        process.env.SVANTIC_CLIENT_SECRET = gateway.client_secret;
        try {
            const error = await rejection(MeshAuth.get_token(gateway.url, credentials(given)));
            assert.ok(error instanceof TypeError && error.message.includes(what), inspect(error));
        } finally {
            delete process.env.SVANTIC_CLIENT_ID;
            delete process.env.SVANTIC_CLIENT_SECRET;
        }
    });
}

test('a time that is no number is a RangeError', async () => {
    const error = await rejection(MeshAuth.get_token(gateway.url, credentials(), { http_timeout_ms: NaN }));
    assert.ok(error instanceof RangeError && error.message.includes('http_timeout_ms'), inspect(error));
});

test('an option that there is not is a TypeError that names the one meant', async () => {
    const error = await rejection(MeshAuth.get_token(gateway.url, credentials(), { ca_fil: 'x' }));
    assert.ok(error instanceof TypeError && error.message.includes('ca_file'), inspect(error));
});

test('the process stays for the token, and ends by itself behind it', async (t) => {
    const program = run_node(
        t,
        `
        import { MeshAuth } from 'svantic/mesh';
        const { SVANTIC_URL, SVANTIC_CLIENT_ID: client_id } = process.env;
        const { SVANTIC_CLIENT_SECRET: client_secret } = process.env;
        MeshAuth.get_token(SVANTIC_URL, { client_id, client_secret, agent_type: 'desk' })
            .then((token) => console.log('token', token.length > 20));
    `,
        { gateway },
    );
    assert.equal(await program.wait(), 0);
    assert.equal(program.stdout, 'token true');
});

test('many at once each get one', async () => {
    const types = Array.from({ length: 50 }, (_, index) => `desk-${index}`);
    const tokens = await Promise.all(
        types.map((agent_type) => MeshAuth.get_token(gateway.url, credentials({ agent_type }))),
    );
    assert.deepEqual(
        tokens.map((token) => claims_of(token).agent_type),
        types,
    );
});

test('nothing is left open behind a call, whether it succeeded or not', async () => {
    await MeshAuth.get_token(gateway.url, credentials());
    const open_now = () => readdirSync('/proc/self/fd').length;
    const at_first = open_now();
    for (let round = 0; round < 20; round += 1) {
        await MeshAuth.get_token(gateway.url, credentials());
        await rejection(MeshAuth.get_token(gateway.url, credentials({ client_secret: 'x' }), quiet));
        await rejection(MeshAuth.get_token(gateway.url, credentials(), { signal: AbortSignal.abort() }));
    }
    // The connections of the HTTP client are few, and shared.
    await wait_for(() => open_now() <= at_first + 5, 'the descriptors of 60 calls to be closed');
});
