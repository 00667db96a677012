// Events: by name, all of them, and as an iteration.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MeshConnector } from 'svantic/mesh';
import { agent_with, connected, deferred, keeping_logger } from './support/agents.mjs';
import { Gateway } from './support/gateway.mjs';

test('a listener gets the data of its event, and "event" gets all with name and code', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = new MeshConnector(agent_with(), gateway.config());
    const [by_name, all] = [[], []];
    mesh.on('connected', (data) => by_name.push(data));
    mesh.on('event', (event) => all.push(event));
    await mesh.connect();
    await mesh.close();
    assert.deepEqual(by_name, [{ connection: 1, resumed: false }]);
    const connecting = all.find((event) => event.name === 'connected');
    assert.deepEqual(connecting, { name: 'connected', code: 6, data: by_name[0] });
    const names = all.map((event) => event.name);
    assert.ok(names.includes('registered') && names.includes('disconnected'));
    assert.deepEqual(all.at(-1).data.state, 'closed');
});

test('a listener that throws or rejects is logged, and stops neither others nor the work', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const logger = keeping_logger();
    const mesh = new MeshConnector(agent_with(), gateway.config({ logger }));
    t.after(() => mesh.close());
    const seen = [];
    mesh.on('state', () => {
        throw new Error('first listener');
    });
    mesh.on('state', async () => {
        throw new Error('second listener');
    });
    mesh.on('state', ({ state }) => seen.push(state));
    mesh.once('state', () => seen.push('once'));
    await mesh.connect();
    assert.deepEqual(seen, ['connecting', 'once', 'connected']);
    await logger.said(/listener of the event state failed\nError: first listener/);
    await logger.said(/listener of the event state failed\nError: second listener/);
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 });
});

test('an iteration ends with the connector and has seen everything', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = new MeshConnector(agent_with(), gateway.config());
    const names = [];
    const reading = (async () => {
        for await (const event of mesh) names.push(event.name);
    })();
    await mesh.connect();
    await mesh.close();
    await reading;
    assert.ok(names.includes('connected') && names.includes('disconnected'));
    assert.equal(names.at(-1), 'state');
    for await (const event of mesh.events()) assert.fail(`${event.name} after the end`);
});

test('an iteration ends with its signal and with its loop', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    const controller = new AbortController();
    const ended = (async () => {
        for await (const event of mesh.events({ signal: controller.signal })) void event;
        return 'ended';
    })();
    controller.abort();
    assert.equal(await ended, 'ended');
    for await (const event of mesh.events({ signal: controller.signal })) assert.fail(event.name);
    const stream = mesh.events();
    const first = stream.next();
    await mesh.re_register();
    assert.equal((await first).done, false);
    await stream.return();
    assert.deepEqual(await stream.next(), { done: true, value: undefined });
});

test('a reader that is too slow loses the oldest events and is told how many', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway, {}, { max_pending_dispatches: 1, max_queued_dispatches: 0 });
    const stream = mesh.events();
    let told = 0;
    const enough = deferred();
    mesh.on('dispatch_refused', () => (told += 1) === 1500 && enough.resolve());
    await gateway.dispatch_many('nobody_has_it', {}, { count: 1500 });
    await enough.promise;
    const { value } = await stream.next();
    assert.equal(value.name, 'missed');
    assert.ok(value.data.count >= 1500 - 1024, `${value.data.count}`);
    let left = 0;
    await mesh.close();
    for await (const event of stream) left += event.name === 'dispatch_refused' ? 1 : 0;
    assert.ok(left > 900, `${left}`);
});
