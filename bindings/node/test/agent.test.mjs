// An agent as a whole program: start(), stop(), signals.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MeshConnector } from 'svantic/mesh';
import { agent_with, deferred, rejection } from './support/agents.mjs';
import { run_node } from './support/child.mjs';
import { Gateway } from './support/gateway.mjs';

test('start resolves with the connector when calls arrive, and stop leaves the mesh', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const before = process.listenerCount('SIGTERM');
    const agent = agent_with({}, { mesh: gateway.config({ instance_id: 'desk-1' }) });
    const mesh = await agent.start();
    assert.ok(mesh instanceof MeshConnector);
    assert.equal(agent.connector, mesh);
    assert.equal(process.listenerCount('SIGTERM'), before + 1);
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 });
    assert.equal((await rejection(agent.start())).code, 'STARTED');
    await agent.stop();
    await agent.stop();
    assert.equal(mesh.state, 'closed');
    assert.equal(agent.connector, undefined);
    assert.equal(process.listenerCount('SIGTERM'), before);
    await gateway.wait_gone('desk-1');
});

test('an agent that was stopped, or could not start, can be started again', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const agent = agent_with();
    const refused = await rejection(
        agent.start(gateway.config({ client_secret: 'no'.repeat(9), logger: false })),
    );
    assert.equal(refused.status, 'AUTH');
    assert.equal(agent.connector, undefined);
    const reason = await rejection(agent.start({ ...gateway.config(), signal: AbortSignal.abort('no') }));
    assert.equal(reason, 'no');
    for (let times = 0; times < 2; times += 1) {
        await agent.start({ ...gateway.config(), handle_signals: false });
        assert.deepEqual((await gateway.dispatch('echo', { times })).result, { times });
        await agent.stop();
    }
});

test('what start is given without a value leaves the option mesh as it is', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const agent = agent_with({}, { mesh: gateway.config() });
    await agent.start({ client_secret: undefined, svantic_url: null, handle_signals: false });
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 });
    await agent.stop();
});

test('a connected agent may be given the port of the platform, and listens on none', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mode = { deployment_mode: 'connected', public_url: 'https://desk.example' };
    for (const mesh of [gateway.config(), gateway.config({ deployment_mode: mode.deployment_mode })]) {
        const agent = agent_with({}, { port: 1, mesh });
        await agent.start({ handle_signals: false });
        assert.deepEqual((await gateway.dispatch('echo', { n: 2 })).result, { n: 2 });
        await agent.stop();
    }
    agent_with({}, { port: 1, mesh: mode });
});

test('each of two stops waits for the running call', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const [running, finish] = [deferred(), deferred()];
    let finished = false;
    const lasts = async () => {
        running.resolve();
        await finish.promise;
        finished = true;
        return 'done';
    };
    const agent = agent_with({ lasts }, { mesh: gateway.config() });
    await agent.start({ handle_signals: false });
    const [id] = await gateway.dispatch_many('lasts', {}, { count: 1 });
    await running.promise;
    const stopped = [agent.stop(), agent.stop()].map(async (stop) => {
        await stop;
        return finished;
    });
    await new Promise((resolve) => setImmediate(resolve));
    finish.resolve();
    assert.deepEqual(await Promise.all(stopped), [true, true]);
    assert.equal((await gateway.answers([id]))[0].result, 'done');
    assert.equal(agent.connector, undefined);
    await agent.start({ handle_signals: false });
    await agent.stop();
});

test("a connector that is closed by hand is not the agent's any more", async (t) => {
    const gateway = await Gateway.start({ test: t });
    const before = process.listenerCount('SIGINT');
    const agent = agent_with();
    const mesh = await agent.start(gateway.config());
    await mesh.close();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(agent.connector, undefined);
    assert.equal(process.listenerCount('SIGINT'), before);
});

const DESK = `
    import { Agent } from 'svantic';
    const agent = new Agent({ name: 'desk', description: 'A desk', instance_id: 'desk-1' });
    const finish = new Promise((resolve) => process.stdin.once('data', resolve));
    finish.then(() => process.stdin.destroy());
    agent.define_capability({ name: 'lasts', description: 'Lasts.', handler: async () => {
        console.log('running');
        await finish;
        return 'finished';
    } });
    agent.define_capability({ name: 'stays', description: 'Stays.', handler: () => {
        console.log('running');
        return new Promise(() => {});
    } });
    process.stdin.unref();
    await agent.start({ logger: false, ...JSON.parse(process.argv[2] ?? '{}') });
    console.log('ready');
    process.on('exit', (code) => console.log('exit ' + code));
`;

for (const signal of ['SIGINT', 'SIGTERM']) {
    test(`${signal} lets a running call finish, and the program ends by itself`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const program = run_node(t, DESK, { gateway });
        await program.wait_line('ready');
        const [id] = await gateway.dispatch_many('lasts', {}, { count: 1 });
        await program.wait_line('running');
        program.signal(signal);
        program.say('go on');
        assert.equal(await program.wait(), 0, program.story());
        assert.equal((await gateway.answers([id]))[0].result, 'finished');
        await gateway.wait_gone('desk-1');
        assert.deepEqual(await gateway.violations(), []);
    });
}

test('a signal during stop lets the running call finish all the same', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const stopping = `agent.define_capability({ name: 'stops', description: 'Stops.', handler() {
        void agent.stop();
        console.log('stopping');
    } });`;
    const program = run_node(t, DESK.replace('process.stdin.unref', `${stopping}process.stdin.unref`), { gateway });
    await program.wait_line('ready');
    const [id] = await gateway.dispatch_many('lasts', {}, { count: 1 });
    await program.wait_line('running');
    await gateway.dispatch_many('stops', {}, { count: 1 });
    await program.wait_line('stopping');
    program.signal('SIGTERM');
    program.say('go on');
    assert.equal(await program.wait(), 0, program.story());
    assert.equal((await gateway.answers([id]))[0].result, 'finished');
});

test('a second signal ends the program at once with the status of a signal', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(
        t,
        DESK +
            `
        process.on('SIGTERM', () => console.log('first'));
    `,
        { gateway },
    );
    await program.wait_line('ready');
    const [id] = await gateway.dispatch_many('stays', {}, { count: 1 });
    await program.wait_line('running');
    program.signal('SIGTERM');
    await program.wait_line('first');
    program.signal('SIGTERM');
    assert.equal(await program.wait(), 143, program.story());
    assert.equal((await gateway.answers([id]))[0].error.code, 'AGENT_SHUTDOWN');
});

test('a signal during the attempt to connect ends the program at once', async (t) => {
    const gateway = await Gateway.start({ test: t, faults: { stall: 'token' } });
    const program = run_node(
        t,
        `console.log('begins');` +
            DESK.replace(
                'await agent.start',
                `setImmediate(() => console.log('waits'));
        await agent.start`,
            ),
        { gateway },
    );
    await program.wait_line('waits');
    program.signal('SIGINT');
    assert.equal(await program.wait(), 130, program.story());
});

test('an agent that gives up ends the program with status 1, unless somebody listens', async (t) => {
    const gateway = await Gateway.start({ test: t });
    for (const [listen, status] of [
        ['', 1],
        [`agent.connector.on('failed', () => console.log('noticed'));`, 0],
        [`agent.connector.once('failed', () => console.log('noticed'));`, 0],
    ]) {
        const program = run_node(t, DESK + listen, { gateway, args: ['{"auto_reconnect":false}'] });
        await program.wait_line('ready');
        await gateway.close('desk-1', 4003);
        assert.equal(await program.wait(), status, program.story());
    }
});

test('a refused agent ends a program with its error', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const env = { SVANTIC_CLIENT_SECRET: 'wrong'.repeat(8) };
    const program = run_node(t, DESK, { gateway, env });
    assert.equal(await program.wait(), 1);
    assert.match(
        program.stderr,
        /SvanticError: .* \[UNAUTHORIZED\]\. check `client_id`.*\n(    at .*\n)*    at .*program\.mjs/,
    );
    assert.ok(!program.stderr.includes('wrongwrong'));
});
