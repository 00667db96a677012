// A connector from its making to its end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Agent, SvanticError } from 'svantic';
import { MeshConnector } from 'svantic/mesh';
import { agent_with, connected, deferred, keeping_logger, rejection } from './support/agents.mjs';
import { Gateway } from './support/gateway.mjs';

test('a connector connects, tells what it is, and leaves', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = new MeshConnector(agent_with(), gateway.config({ instance_id: 'box-1' }));
    assert.equal(mesh.state, 'idle');
    assert.equal(mesh.connected, false);
    assert.equal(mesh.token, undefined);
    assert.equal(mesh.svantic_url, gateway.url);
    assert.equal(mesh.ws_transport.state, 'disconnected');
    assert.equal(await mesh.connect(), undefined);
    assert.equal(mesh.state, 'connected');
    assert.equal(mesh.connected, true);
    assert.match(mesh.token, /^[\w-]+\.[\w-]+\.[\w-]+$/);
    assert.equal(mesh.instance_id, 'box-1');
    assert.equal(mesh.deployment_mode, 'connected');
    assert.equal(mesh.agent_card.name, 'tried');
    assert.deepEqual(mesh.ws_transport, { state: 'ready', connection: 1, attempts: 0 });
    assert.equal(mesh.health.ready, true);
    assert.ok(mesh.agent instanceof Agent);
    mesh.network_changed();
    assert.equal(await mesh.disconnect(), undefined);
    await mesh.close();
    await gateway.wait_gone('box-1');
});

test('what is known of a connector stays known when it has ended', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    await gateway.dispatch('echo');
    const { instance_id } = mesh;
    await mesh.close();
    assert.equal(mesh.state, 'closed');
    assert.equal(mesh.connected, false);
    assert.equal(mesh.token, undefined);
    assert.equal(mesh.instance_id, instance_id);
    assert.equal(mesh.svantic_url, gateway.url);
    assert.equal(mesh.stats.answered, 1);
    assert.equal(mesh.health.ready, false);
    assert.equal(mesh.ws_transport.state, 'closed');
    assert.equal(mesh.agent_card.name, 'tried');
    mesh.network_changed();
    mesh.ref().unref();
});

test('operations that begin after the end reject, and closing again does nothing', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    await mesh.disconnect();
    const operations = () => [
        mesh.connect(),
        mesh.disconnect(),
        mesh.re_register(),
        mesh.refresh_token(),
        mesh.refresh_token('x.y.z'),
        mesh.create_session(),
        mesh.close_session('s'),
    ];
    const expect_closed = async () => {
        for (const operation of operations()) {
            const error = await rejection(operation);
            assert.equal(error.code, 'CLOSED');
            assert.equal(error.status, 'INVALID_STATE');
        }
    };
    await expect_closed(); // right behind the disconnect, before the last item may have been taken
    await Promise.all([mesh.close(), mesh.close()]);
    await mesh.close();
    await mesh.wait_closed();
    await expect_closed();
});

test('operations that the end overtakes reject', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    await gateway.set_faults({ stall: 'session_init' });
    const operations = [mesh.create_session(), mesh.create_session()].map(rejection);
    await mesh.disconnect();
    for (const error of await Promise.all(operations)) assert.equal(error.status, 'CANCELLED');
});

test('a second connect rejects, and leaves the connection alone', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    const error = await rejection(mesh.connect());
    assert.ok(error instanceof SvanticError);
    assert.equal(error.status, 'INVALID_STATE');
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 });
});

test('a refused connect says why, leaves the connector idle, and may be tried again', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const config = gateway.config({ client_secret: 'wrong'.repeat(8), logger: false });
    const mesh = new MeshConnector(agent_with(), config);
    t.after(() => mesh.close());
    const error = await rejection(mesh.connect());
    assert.equal(error.status, 'AUTH');
    assert.equal(error.http_status, 401);
    assert.ok(error.hint.length > 0);
    // Where it was called, not where the answer came in.
    assert.match(error.stack, /^SvanticError: .*\n(    at .*\n)*    at .*connector\.test\.mjs/);
    assert.doesNotMatch(JSON.stringify(error) + error.message, /wrongwrong/);
});

test('nobody there is a network error that may pass', async () => {
    const config = { svantic_url: 'http://127.0.0.1:1', client_id: 'c', client_secret: 's', logger: false };
    const mesh = new MeshConnector(agent_with(), { ...config, fail_fast: true });
    const error = await rejection(mesh.connect());
    assert.equal(error.status, 'NETWORK');
    assert.equal(error.retryable, true);
    assert.equal(mesh.state, 'idle');
    await mesh.close();
});

test('a connector that fails for good tells waiters and later operations why', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway, {}, { auto_reconnect: false });
    const failed = deferred();
    mesh.on('failed', failed.resolve);
    const waiting = rejection(mesh.wait_closed());
    await gateway.close(mesh.instance_id, 4003);
    const told = await failed.promise;
    const failure = await waiting;
    assert.equal(failure.code, told.code);
    assert.equal(mesh.state, 'failed');
    const later = await rejection(mesh.create_session());
    assert.equal(later.code, 'CLOSED');
    assert.equal(later.cause, failure);
    await mesh.close();
    assert.equal(await rejection(mesh.wait_closed()), failure);
});

test('sessions are opened and closed', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    const id = await mesh.create_session({ user_id: 'u1' });
    assert.equal(typeof id, 'string');
    assert.equal((await gateway.sessions()).length, 1);
    await mesh.close_session(id);
    const error = await rejection(mesh.close_session('unknown'));
    assert.equal(error.status, 'NOT_FOUND');
});

test('a capability that is defined later is announced by re_register', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    mesh.agent.define_capability({ name: 'added', description: 'Is added.', handler: () => 'new' });
    await mesh.re_register();
    assert.equal((await gateway.dispatch('added')).result, 'new');
});

test('two connectors serve one agent', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const agent = agent_with({ who: (_, context) => context.dispatch_id });
    const both = ['one', 'two'].map((id) => new MeshConnector(agent, gateway.config({ instance_id: id })));
    t.after(() => Promise.all(both.map((mesh) => mesh.close())));
    await Promise.all(both.map((mesh) => mesh.connect()));
    for (const instance_id of ['one', 'two']) {
        const { result, dispatch_id } = await gateway.dispatch('who', {}, { instance_id });
        assert.equal(result, dispatch_id);
    }
    agent.define_capability({ name: 'both', description: 'Both have it.', handler: () => 1 });
    for (const mesh of both) assert.ok(JSON.stringify(mesh.agent_card).includes('both'));
});

test('tokens come from token_provider, at once or by a promise, again after a failure', async (t) => {
    const gateway = await Gateway.start({ test: t });
    for (const wait of [false, true]) {
        let asked = 0;
        const lines = [];
        const mesh = new MeshConnector(agent_with(), {
            svantic_url: gateway.url,
            logger: { error: (line) => lines.push(line) },
            token_provider: () => {
                asked += 1;
                if (asked === 1 && wait) throw new Error('issuer is out');
                const token = gateway.issue_token('tried');
                return token;
            },
            token_provider_timeout_ms: wait ? 50 : 10_000,
        });
        t.after(() => mesh.close());
        await mesh.connect();
        assert.equal(mesh.state, 'connected');
        if (wait) assert.match(lines.join(), /token_provider\nError: issuer is out/);
        await mesh.close();
    }
});

test('a token_provider that fails when the connector has been closed is not missed', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const [asked, late, logger] = [deferred(), deferred(), keeping_logger()];
    const token_provider = () => {
        asked.resolve();
        return late.promise;
    };
    const mesh = new MeshConnector(agent_with(), { svantic_url: gateway.url, token_provider, logger });
    const connecting = rejection(mesh.connect());
    await asked.promise;
    await mesh.close();
    await connecting;
    late.reject(new Error('too late'));
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(
        logger.lines.filter(([level]) => level === 'error'),
        [],
    );
});

test('a token of its own is replaced, and what is none is refused', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = new MeshConnector(agent_with(), {
        svantic_url: gateway.url,
        token: await gateway.issue_token('tried'),
        logger: false,
    });
    t.after(() => mesh.close());
    await mesh.connect();
    const next = await gateway.issue_token('tried');
    await mesh.refresh_token(next);
    assert.equal(mesh.token, next);
    assert.ok((await rejection(mesh.refresh_token('no token'))) instanceof SvanticError);
    for (const wrong of [5, 'a\0b', 'a\ud800']) {
        const error = await rejection(mesh.refresh_token(wrong));
        assert.ok(error instanceof TypeError);
        assert.match(error.message, /^the token /);
    }
});

test('wrong kinds of arguments reject with a TypeError that names them', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    const wrong = [
        [mesh.create_session({}, { timeout_ms: '5' }), TypeError, /timeout_ms is of type string/],
        [mesh.create_session({}, { timeout_ms: -1 }), RangeError, /timeout_ms is -1/],
        [mesh.create_session({}, { timeout_ms: NaN }), RangeError, /NaN/],
        [mesh.create_session({}, { signal: {} }), TypeError, /signal must be an AbortSignal/],
        [mesh.create_session({ n: 1n }), TypeError, /BigInt/],
        [mesh.close_session(5), TypeError, /the session id is of type number/],
    ];
    for (const [promise, kind, words] of wrong) {
        const error = await rejection(promise);
        assert.ok(error instanceof kind, error);
        assert.match(error.message, words);
    }
});
