// AbortSignal ends operations, and leaves nothing behind.
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { MeshConnector } from 'svantic/mesh';
import { agent_with, connected, deferred, rejection } from './support/agents.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';

test('an aborted connect rejects with the reason, and may be tried again', async (t) => {
    const gateway = await Gateway.start({ test: t, faults: { stall: 'token' } });
    const mesh = new MeshConnector(agent_with(), gateway.config({ logger: false }));
    t.after(() => mesh.close());
    const controller = new AbortController();
    const connecting = rejection(mesh.connect({ signal: controller.signal }));
    await wait_for(async () => (await gateway.requests()).length > 0, 'a request');
    const reason = new Error('had enough');
    controller.abort(reason);
    assert.equal(await connecting, reason);
    await wait_for(() => mesh.state === 'idle', 'the idle state');
    await gateway.set_faults();
    await mesh.connect();
    assert.equal(mesh.state, 'connected');
});

test('a signal that is aborted already starts nothing', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = new MeshConnector(agent_with(), gateway.config());
    t.after(() => mesh.close());
    const signal = AbortSignal.abort('never mind');
    assert.equal(await rejection(mesh.connect({ signal })), 'never mind');
    assert.equal(await rejection(mesh.refresh_token('x.y.z', { signal })), 'never mind');
    assert.equal(await rejection(mesh.wait_closed({ signal })), 'never mind');
    assert.equal(mesh.state, 'idle');
    assert.deepEqual(await gateway.requests(), []);
});

test('an aborted create_session rejects, and the session does not stay open', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    await gateway.set_faults({ stall: 'session_init' });
    const controller = new AbortController();
    const opening = rejection(mesh.create_session({}, { signal: controller.signal }));
    controller.abort();
    assert.equal((await opening).name, 'AbortError');
    await gateway.set_faults();
    assert.equal(typeof (await mesh.create_session()), 'string');
});

test('an operation that has ended leaves no listener at its signal', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const controller = new AbortController();
    const { signal } = controller;
    const mesh = await connected(t, gateway);
    for (let times = 0; times < 20; times += 1) await mesh.re_register({ signal });
    await rejection(mesh.close_session('unknown', { signal }));
    await rejection(mesh.close_session(5, { signal }));
    const waiting = mesh.wait_closed({ signal });
    await mesh.close({ signal });
    await waiting;
    assert.equal(getEventListeners(signal, 'abort').length, 0);
    controller.abort();
});

test('a timeout ends an operation with TIMEOUT', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    await gateway.set_faults({ stall: 'session_init' });
    const error = await rejection(mesh.create_session({}, { timeout_ms: 20 }));
    assert.equal(error.status, 'TIMEOUT');
});

test('an aborted disconnect no longer waits for running calls, and goes on', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const started = deferred();
    const mesh = await connected(t, gateway, {
        never: () => {
            started.resolve();
            return new Promise(() => {});
        },
    });
    const [id] = await gateway.dispatch_many('never', {}, { count: 1 });
    await started.promise;
    const controller = new AbortController();
    const leaving = rejection(mesh.disconnect({ signal: controller.signal }));
    controller.abort('at once');
    assert.equal(await leaving, 'at once');
    await mesh.wait_closed();
    assert.equal((await gateway.answers([id]))[0].error.code, 'AGENT_SHUTDOWN');
});

test('wait_closed ends with its signal while the connector goes on', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    const controller = new AbortController();
    const waiting = rejection(mesh.wait_closed({ signal: controller.signal }));
    controller.abort('no longer');
    assert.equal(await waiting, 'no longer');
    assert.equal(mesh.state, 'connected');
});
