// How a hosted agent begins and ends with the process that serves it.
import assert from 'node:assert/strict';
import test from 'node:test';
import express from 'express';
import { attach } from 'svantic';
import { agent_with, deferred, keeping_logger, rejection } from './support/agents.mjs';
import { run_node } from './support/child.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';
import { ask, call, listening, local, result_of } from './support/hosted.mjs';

const EXPRESS = import.meta.resolve('express');

/** An Express app with an agent; a line on stdin lets the running call finish. */
const DESK = `
    import express from '${EXPRESS}';
    import { once } from 'node:events';
    import { Agent } from 'svantic';

    const app = express().use(express.json());
    const server = app.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const public_url = 'http://127.0.0.1:' + server.address().port;
    const agent = new Agent({ name: 'desk', description: 'A desk', instance_id: 'desk-1', public_url });
    const told = once(process.stdin, 'data').then(() => process.stdin.destroy());
    process.stdin.unref();
    agent.define_capability({ name: 'lasts', description: 'Lasts.', handler: async () => {
        console.log('running');
        await told;
        return 'finished';
    } });
    agent.define_capability({ name: 'ping', description: 'Answers.', handler: () => 'pong' });
    agent.expose(app);
    process.on('exit', (code) => console.log('exit ' + code));
    await agent.start({ logger: false, ...JSON.parse(process.argv[2] ?? '{}') });
    console.log('ready ' + public_url);
`;

let pings = 0;

/** Waits until the agent takes no more calls. */
function refusing(url) {
    const refused = async () => {
        const body = call('ping', {}, { id: `ping-${(pings += 1)}` });
        return (await ask(`${url}/send`, { body })).status === 503;
    };
    return wait_for(refused, 'a refusal');
}

for (const signal of ['SIGINT', 'SIGTERM']) {
    test(`${signal} lets a running call finish, and ends a program that has no ear for it`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const program = run_node(t, DESK, { gateway });
        const url = await program.wait_line('ready');
        const answer = gateway.dispatch('lasts');
        await program.wait_line('running');
        program.signal(signal);
        await refusing(url);
        program.say('go on');
        assert.equal((await answer).result, 'finished');
        assert.equal(await program.wait(), 0, program.story());
        assert.equal((await gateway.wait_gone('desk-1')).deregistrations, 1);
        assert.deepEqual(await gateway.violations(), []);
    });
}

test('a program that listens to the signal itself ends itself', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const own = `
        process.once('SIGTERM', async () => {
            await agent.stop();
            console.log('left');
            await once(process.stdin, 'close');
            server.close();
            server.closeAllConnections();
        });
    `;
    const program = run_node(t, DESK + own, { gateway });
    const url = await program.wait_line('ready');
    program.signal('SIGTERM');
    await program.wait_line('left');
    const { status } = await ask(`${url}/send`, { body: call('lasts') });
    assert.equal(status, 503, 'the agent has gone, the server has not');
    program.say('go on');
    assert.equal(await program.wait(), 0, program.story());
});

test('the second signal ends at once', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, DESK, { gateway });
    const url = await program.wait_line('ready');
    await gateway.dispatch_many('lasts', {}, { count: 1 });
    await program.wait_line('running');
    program.signal('SIGTERM');
    await refusing(url);
    program.signal('SIGTERM');
    assert.equal(await program.wait(), 143, program.story());
});

test('of two agents in an app the last one to finish ends the program', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const second = `
        const identity = { name: 'other', description: 'Other', instance_id: 'other-1' };
        const other = new Agent({ ...identity, public_url: public_url + '/other' });
        other.define_capability({ name: 'quick', description: 'Quick.', handler: () => 'done' });
        const router = express.Router();
        other.expose(router);
        app.use('/other', router);
        await other.start({ logger: false });
        console.log('both');
    `;
    const program = run_node(t, DESK + second, { gateway });
    await program.wait_line('both');
    assert.equal((await gateway.dispatch('quick', {}, { instance_id: 'other-1' })).result, 'done');
    const answer = gateway.dispatch('lasts', {}, { instance_id: 'desk-1' });
    await program.wait_line('running');
    program.signal('SIGTERM');
    await gateway.wait_gone('other-1');
    program.say('go on');
    assert.equal((await answer).result, 'finished');
    assert.equal(await program.wait(), 0, program.story());
});

test('a hosted agent keeps the process while it is connected, and not when it has left', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const leaves = `
        server.close();
        server.closeAllConnections();
        process.stdin.ref();
        await told;
        process.stdin.unref();
        console.log('still here');
        await agent.stop();
    `;
    const program = run_node(t, DESK + leaves, { gateway });
    await program.wait_line('ready');
    assert.equal((await gateway.agent()).registered, true);
    program.say();
    await program.wait_line('still here');
    assert.equal(await program.wait(), 0, program.story());
    await gateway.wait_gone('desk-1');
});

test('a local agent on a server of the program ends with that server', async (t) => {
    const program = run_node(t, DESK.replace('await agent.start(', `
        const mesh = await agent.start({ local: true });
        console.log(mesh.state, mesh.connected, mesh.deployment_mode);
        server.close();
        await (`) + 'process.stdin.destroy();', {});
    assert.equal(await program.wait_line('idle'), 'false hosted');
    assert.equal(await program.wait(), 0, program.story());
});

test('a local agent needs no credentials, and joins no mesh', async (t) => {
    const { mesh, agent, site, send } = await local(t);
    assert.equal(mesh.state, 'idle');
    assert.equal(mesh.health.ready, true);
    assert.equal((await rejection(mesh.connect())).status, 'INVALID_STATE');
    assert.deepEqual(result_of(await send(call('echo', { n: 1 }))), { result: { n: 1 } });
    const { json } = await ask(`${site.url}/.well-known/agent-card.json`, { method: 'GET' });
    assert.equal(json.url, `${site.url}/send`, 'where it was asked');
    await agent.stop();
    assert.equal(mesh.state, 'closed');
    assert.equal((await send(call('echo'))).status, 503);
});

test('a call that runs while a local agent is stopped is finished, later ones get 503', async (t) => {
    const [running, finish] = [deferred(), deferred()];
    const { agent, send } = await local(t, { waits: () => (running.resolve(), finish.promise) });
    const reply = send(call('waits'));
    await running.promise;
    const stopped = agent.stop();
    const late = await send(call('echo', {}, { id: 'c-2' }));
    assert.equal(late.status, 503);
    finish.resolve('finished');
    assert.deepEqual(result_of(await reply), { result: 'finished' });
    await stopped;
});

test('attach mounts and starts, though the app listens afterwards', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const site = await listening(t); // for its URL; the app is behind it once it has been attached
    const app = express().use(express.json());
    const agent = agent_with({}, { public_url: site.url });
    const before = process.listenerCount('SIGTERM');
    const handle = await attach(app, { agent, mesh: gateway.config({ logger: false }) });
    gateway.at_end(() => handle.detach());
    assert.equal(process.listenerCount('SIGTERM'), before + 1);
    assert.equal(handle.agent, agent);
    assert.equal(handle.mesh, agent.connector);
    site.handle = app;
    await handle.ready;
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 });
    await handle.detach();
    await handle.detach();
    assert.equal(process.listenerCount('SIGTERM'), before);
    assert.equal((await ask(`${site.url}/send`, { body: call('echo') })).status, 503);
});

test('after attach the mesh asks for the card until the app answers', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const site = await listening(t);
    const app = express();
    const agent = agent_with({}, { public_url: site.url });
    const logger = keeping_logger();
    const { mesh, ready, detach } = await attach(app, { agent, mesh: gateway.config({ logger }) });
    gateway.at_end(detach);
    await logger.said(/is not on the mesh yet: .*HTTP 503/);
    site.handle = app;
    await ready;
    assert.equal(mesh, agent.connector);
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 });
});

test('an agent that is detached before it is on the mesh has not failed', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const site = await listening(t);
    const logger = keeping_logger();
    const agent = agent_with({}, { public_url: site.url });
    const handle = await attach(express(), { agent, mesh: gateway.config({ logger }) });
    await logger.said(/is not on the mesh yet/);
    await handle.detach();
    assert.match((await rejection(handle.ready)).code, /^(CLOSED|CANCELLED)$/); // between attempts or in one
    assert.equal(process.exitCode, undefined);
    assert.ok(!logger.lines.some(([level]) => level === 'error'), JSON.stringify(logger.lines));
});

test('attach without a mesh serves alone, and with one in connected mode waits for it', async (t) => {
    const site = await listening(t);
    site.handle = express().use(express.json());
    const agent = agent_with();
    const handle = await attach(site.handle, { agent, endpoint_path: '/a2a', triggers: [] }); // not here
    await handle.ready;
    const reply = await ask(`${site.url}/a2a`, { body: call('echo', { n: 1 }) });
    assert.deepEqual(result_of(reply), { result: { n: 1 } });
    await handle.detach();

    const gateway = await Gateway.start({ test: t });
    for (const [config, mesh] of [[{}, gateway.config()], [{ mesh: gateway.config() }, undefined]]) {
        const connected = await attach(express(), { agent: agent_with({}, config), mesh });
        gateway.at_end(() => connected.detach());
        assert.equal(connected.mesh.connected, true);
        assert.deepEqual((await gateway.dispatch('echo', { n: 2 })).result, { n: 2 });
        await connected.detach();
    }
    const running = agent_with();
    await running.start({ local: true, handle_signals: false });
    assert.equal((await rejection(attach(express(), { agent: running }))).code, 'STARTED');
    await running.stop();
    const wrong = gateway.config({ client_secret: 'wrong'.repeat(8), logger: false });
    assert.equal((await rejection(attach(express(), { agent: agent_with(), mesh: wrong }))).status, 'AUTH');
});

test('a hosted agent that cannot join the mesh after attach says so, and that it failed', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const logger = keeping_logger();
    const mesh = gateway.config({ client_secret: 'wrong'.repeat(8), logger });
    const agent = agent_with({}, { public_url: 'http://127.0.0.1:9' });
    const handle = await attach(express(), { agent, mesh });
    t.after(() => (process.exitCode = 0));
    assert.equal((await rejection(handle.ready)).status, 'AUTH');
    await logger.said(/agent tried is not on the mesh/);
    assert.equal(process.exitCode, 1);
    assert.ok(!JSON.stringify(logger.lines).includes('wrongwrong'));
});

test("what attach has to say goes to the logger of the agent's own options", async (t) => {
    const gateway = await Gateway.start({ test: t });
    const refused = { client_secret: 'wrong'.repeat(8) };
    t.after(() => (process.exitCode = 0));
    for (const given of [undefined, { ...gateway.config(refused), logger: null }]) {
        const logger = keeping_logger();
        const public_url = 'http://127.0.0.1:9';
        const agent = agent_with({}, { public_url, mesh: gateway.config({ ...refused, logger }) });
        const handle = await attach(express(), { agent, mesh: given });
        assert.equal((await rejection(handle.ready)).status, 'AUTH');
        await logger.said(/^agent tried is not on the mesh\n/);
    }
});
