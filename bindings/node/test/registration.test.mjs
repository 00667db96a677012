// RegistrationClient against a real gateway.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';
import { rejection } from './support/agents.mjs';
import { Gateway } from './support/gateway.mjs';
import { RegistrationClient, SvanticError } from 'svantic/mesh';

let gateway;
let token;
before(async () => {
    // Nobody serves the cards of the hosted agents here.
    gateway = await Gateway.start({ args: ['--no-probe'] });
    token = await gateway.issue_token('desk');
});
after(() => gateway.stop());

const client = (more = {}) =>
    new RegistrationClient({
        svantic_url: gateway.url,
        auth_headers: () => ({ Authorization: `Bearer ${token}` }),
        logger: false,
        ...more,
    });
const CONNECTED = { agent_type: 'desk', instance_id: 'desk-1', deployment_mode: 'connected' };
const registered = async (instance_id) => (await gateway.agent(instance_id))?.registration;

test("the reply is the mesh's", async () => {
    assert.deepEqual(await client().register(CONNECTED), {
        ok: true,
        tenant_id: 'local-tenant',
        instance_id: 'desk-1',
        deployment_mode: 'connected',
        connect_url: `${gateway.url.replace('http', 'ws')}/agents/connect`,
        svantic_jwks_url: null,
        dispatch_auth: null,
    });
});

test('exactly the fields that were given are sent', async () => {
    await client().register(CONNECTED);
    assert.deepEqual(await registered('desk-1'), CONNECTED);
    const all = {
        agent_type: 'desk',
        instance_id: 'desk-2',
        deployment_mode: 'hosted',
        url: 'https://desk.example/a2a',
        agent_card: { name: 'desk', skills: [{ id: 'find_order', x: [1.5, null, 'ä'] }] },
        tools: [{ name: 't' }],
        mcp_servers: { files: { command: 'files', args: [] } },
        dispatch_auth: { scheme: 'shared_secret', required: true },
        max_concurrent_sessions: 3,
        learning: { on: true },
        of_tomorrow: { what: 'ever' },
    };
    const reply = await client().register({ ...all, left_out: undefined });
    assert.deepEqual(await registered('desk-2'), all);
    assert.deepEqual(
        [reply.connect_url, reply.dispatch_auth],
        [null, { scheme: 'shared_secret', required: true }],
    );
});

test('an instance is taken off, and one that is not there is no error', async () => {
    await client().register({ ...CONNECTED, instance_id: 'desk-3' });
    await client().deregister({ agent_type: 'desk', instance_id: 'desk-3' });
    assert.equal((await gateway.agent('desk-3')).registered, false);
    await client().deregister({ agent_type: 'desk', instance_id: 'desk-3' });
    await client().deregister({ agent_type: 'desk', instance_id: 'never-there' });
});

test('the headers are asked for at each call, and may be a promise', async () => {
    const asked = [];
    const own = client({ auth_headers: async () => ({ authorization: `bearer ${asked.push(1) && token}` }) });
    await own.register({ ...CONNECTED, instance_id: 'desk-4' });
    await own.deregister({ agent_type: 'desk', instance_id: 'desk-4' });
    assert.equal(asked.length, 2);
});

const header_forms = {
    'an object': (entries) => Object.fromEntries(entries),
    Headers: (entries) => new Headers(entries),
    'a Map': (entries) => new Map(entries),
    pairs: (entries) => entries,
};
for (const [what, form] of Object.entries(header_forms)) {
    test(`more headers given as ${what} are sent, and the library's own are left out`, async (t) => {
        // What arrives is looked at by a server that keeps the values.
        const seen = [];
        const server = http
            .createServer((request, response) => {
                seen.push(request.headers);
                request.resume().on('end', () => response.end('{"ok":true}'));
            })
            .listen(0, '127.0.0.1');
        await new Promise((resolve) => server.once('listening', resolve));
        t.after(() => server.close());
        const own = client({
            svantic_url: `http://127.0.0.1:${server.address().port}`,
            auth_headers: () =>
                form([
                    ['Authorization', 'Bearer tok'],
                    ['X-Tenant', 't1'],
                    ['Content-Type', 'text/plain'],
                    ['Accept', 'text/plain'],
                    ['User-Agent', 'mine'],
                ]),
        });
        assert.deepEqual(await own.register(CONNECTED), { ok: true });
        const [{ authorization, 'x-tenant': tenant, 'content-type': type, accept, 'user-agent': agent }] =
            seen;
        assert.deepEqual([authorization, tenant, type], ['Bearer tok', 't1', 'application/json']);
        assert.doesNotMatch(`${accept} ${agent}`, /text\/plain|mine/);
    });
}

test('a header that would change the message is refused', async () => {
    const own = client({
        auth_headers: () => ({ Authorization: `Bearer ${token}`, 'Transfer-Encoding': 'chunked' }),
    });
    const error = await rejection(own.register(CONNECTED));
    assert.deepEqual([error.status, error instanceof SvanticError], ['INVALID_ARGUMENT', true]);
});

for (const [what, headers] of [
    ['no Authorization', {}],
    ['another scheme', { Authorization: 'Basic aHVzaA==' }],
    ['a token of two words', { Authorization: 'Bearer hush hush' }],
    ['an empty one', { Authorization: 'Bearer ' }],
    ['no object', undefined],
    ['a text', 'Bearer hush'],
]) {
    test(`${what} is a TypeError that shows no token`, async () => {
        const error = await rejection(client({ auth_headers: () => headers }).register(CONNECTED));
        assert.ok(error instanceof TypeError, inspect(error));
        assert.doesNotMatch(inspect(error), /hush|aHVz/);
    });
}

test('what auth_headers throws is what is rejected with', async () => {
    const reason = new Error('no login');
    const throwing = () => {
        throw reason;
    };
    assert.equal(await rejection(client({ auth_headers: throwing }).register(CONNECTED)), reason);
    const rejecting = () => Promise.reject(reason);
    assert.equal(await rejection(client({ auth_headers: rejecting }).register(CONNECTED)), reason);
});

test('a token that the mesh refuses is an AUTH error', async () => {
    const own = client({ auth_headers: () => ({ Authorization: 'Bearer hush.hush.hush' }) });
    const error = await rejection(own.register(CONNECTED));
    assert.deepEqual([error.status, error.code, error.http_status], ['AUTH', 'UNAUTHORIZED', 401]);
    assert.doesNotMatch(inspect(error), /hush/);
});

test("an instance of the other mode is an error with the mesh's code", async () => {
    await client().register({ ...CONNECTED, instance_id: 'desk-5' });
    const error = await rejection(
        client().register({
            ...CONNECTED,
            instance_id: 'desk-5',
            deployment_mode: 'hosted',
            url: 'https://desk.example',
        }),
    );
    assert.deepEqual(
        [error.status, error.code, error.http_status, error.retryable],
        ['REMOTE', 'DEPLOYMENT_MODE_MISMATCH', 409, false],
    );
});

test('a request that the mesh does not understand is an error with its status', async () => {
    const error = await rejection(client().register({ agent_type: 'desk' }));
    assert.deepEqual([error.status, error.http_status], ['REMOTE', 400]);
});

test('a failure that passes is tried again', async (t) => {
    const own = await Gateway.start({
        test: t,
        faults: { refuse: [{ endpoint: 'register', status: 503, retry_after: 0, times: 1 }] },
    });
    const bearer = `Bearer ${await own.issue_token('desk')}`;
    await client({ svantic_url: own.url, auth_headers: () => ({ Authorization: bearer }) }).register(
        CONNECTED,
    );
    const tries = (await own.requests()).filter(({ path }) => path === '/agents/register');
    assert.deepEqual(
        tries.map(({ status }) => status),
        [503, 200],
    );
});

test('a signal ends it with its reason', async (t) => {
    const own = await Gateway.start({ test: t, faults: { stall: 'register' } });
    const bearer = `Bearer ${await own.issue_token('desk')}`;
    const slow = client({ svantic_url: own.url, auth_headers: () => ({ Authorization: bearer }) });
    const error = await rejection(slow.register(CONNECTED, { signal: AbortSignal.timeout(50) }));
    assert.equal(error.name, 'TimeoutError');
    assert.equal((await rejection(slow.register(CONNECTED, { timeout_ms: 50 }))).status, 'TIMEOUT');
});

test('the environment of an agent changes nothing', async () => {
    const other = {
        SVANTIC_TOKEN: 'x.y.z',
        SVANTIC_CLIENT_ID: 'x',
        SVANTIC_CLIENT_SECRET: 'y',
        SVANTIC_INSTANCE_ID: 'z',
    };
    Object.assign(process.env, other, { SVANTIC_URL: 'http://127.0.0.1:9' });
    try {
        assert.equal((await client().register(CONNECTED)).instance_id, 'desk-1');
    } finally {
        for (const name of [...Object.keys(other), 'SVANTIC_URL']) delete process.env[name];
    }
});

test('options that are missing or unknown are a TypeError', () => {
    assert.throws(() => new RegistrationClient({ svantic_url: gateway.url }), /auth_headers/);
    assert.throws(() => new RegistrationClient({ auth_headers: () => ({}) }), /svantic_url/);
    assert.throws(() => client({ auth_header: () => ({}) }), /auth_headers/);
});

test('a signal ends the wait for auth_headers', async () => {
    const given_up = new AbortController();
    const waiting = client({ auth_headers: () => new Promise(() => {}) });
    const pending = rejection(waiting.register(CONNECTED, { signal: given_up.signal }));
    const reason = new Error('enough');
    given_up.abort(reason);
    assert.equal(await pending, reason);
});

test('headers that fail behind the signal are not missed', async () => {
    const given_up = new AbortController();
    let fail;
    const late = client({ auth_headers: () => new Promise((_, reject) => (fail = reject)) });
    const pending = rejection(late.register(CONNECTED, { signal: given_up.signal }));
    given_up.abort('enough');
    fail(new Error('too late'));
    assert.equal(await pending, 'enough');
    await new Promise((resolve) => setImmediate(resolve));
});
