// A program ends by itself when nothing is connected, and stays while something is.
import assert from 'node:assert/strict';
import test from 'node:test';
import { run_node } from './support/child.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';

const BEGINNING = `
import { Agent } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

const agent = new Agent({ name: 'leaving', description: 'Ends by itself' });
agent.define_capability({ name: 'quick', description: 'Answers at once', handler: ({ n }) => n });
process.on('exit', (code) => console.log('EXIT', code));
`;

const ENDS = {
    'the package is only imported': '',
    'a connector was never connected': 'globalThis.mesh = new MeshConnector(agent);',
    'a connector was disconnected': `
        const mesh = new MeshConnector(agent);
        await mesh.connect();
        await mesh.disconnect();`,
    'a connector was closed': `
        const mesh = new MeshConnector(agent);
        await mesh.connect();
        await mesh.close();`,
    'a connector was closed that was never connected': `
        const mesh = new MeshConnector(agent);
        await mesh.close();`,
    'connecting failed': `
        const mesh = new MeshConnector(agent, { client_secret: 'wrong' });
        const error = await mesh.connect().catch((reason) => reason);
        if (error.code !== 'UNAUTHORIZED') throw error;`,
    'connecting was given up': `
        const mesh = new MeshConnector(agent);
        const failure = mesh.connect({ signal: AbortSignal.abort(new Error('given up')) });
        const error = await failure.catch((reason) => reason);
        if (error.message !== 'given up') throw error;`,
    'its listeners and iterators are left where they were': `
        const mesh = new MeshConnector(agent);
        mesh.on('state', () => {});
        (async () => { for await (const event of mesh.events()) void event; })();
        await mesh.connect();
        await mesh.disconnect();`,
};

for (const [when, text] of Object.entries(ENDS)) {
    test(`a program ends by itself when ${when}`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const program = run_node(t, BEGINNING + text, { gateway });
        assert.equal(await program.wait(), 0, program.story());
        assert.deepEqual(program.lines, ['EXIT 0'], program.story());
        assert.equal(program.stderr, when === 'connecting failed' ? program.stderr : '', program.story());
        await gateway.wait_empty();
        assert.deepEqual(await gateway.violations(), []);
    });
}

test('a program stays while it is connected and ends once it is not', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, `${BEGINNING}
        const mesh = new MeshConnector(agent, { heartbeat_interval_ms: 50 });
        agent.define_capability({
            name: 'end', description: 'Ends it', handler: () => void mesh.disconnect(),
        });
        await mesh.connect();
        console.log('CONNECTED');
    `, { gateway });
    await program.wait_line('CONNECTED');
    const { heartbeats } = await gateway.agent();
    await wait_for(async () => (await gateway.agent()).heartbeats >= heartbeats + 20, 'twenty heartbeats');
    assert.deepEqual((await gateway.dispatch('quick', { n: 3 })).result, 3);
    assert.ok(program.running, program.story());
    assert.deepEqual((await gateway.dispatch('end')).result, null);
    assert.equal(await program.wait(), 0, program.story());
    await gateway.wait_gone();
});

test('a program stays while it is connecting, and while its connection is lost', async (t) => {
    const gateway = await Gateway.start({ test: t, faults: { stall: 'welcome' } });
    const program = run_node(t, `${BEGINNING}
        const mesh = new MeshConnector(agent, { reconnect_delays_ms: [20] });
        mesh.connect().then(() => console.log('CONNECTED'));
        mesh.on('disconnected', () => console.log('LOST'));
        agent.define_capability({ name: 'end', description: 'Ends it', handler: () => void mesh.close() });
    `, { gateway });
    const asked = async () => (await gateway.requests()).some((each) => each.path === '/agents/connect');
    await wait_for(asked, 'an upgrade');
    const { instance_id } = await gateway.agent();
    // Between two attempts there is no socket.
    const reset = () => gateway.abort(instance_id).then(() => true, () => false);
    const cut = () => wait_for(reset, 'a socket to cut');
    await gateway.set_faults();
    await cut();
    await program.wait_line('CONNECTED');
    const { welcomes } = await gateway.wait_ready();
    await gateway.set_faults({ stall: 'welcome' });
    await cut();
    await program.wait_line('LOST');
    await gateway.set_faults();
    await cut();
    await gateway.wait_ready(instance_id, { welcomes: welcomes + 1 });
    assert.equal((await gateway.dispatch('quick', { n: 1 })).result, 1);
    await gateway.dispatch('end');
    assert.equal(await program.wait(), 0, program.story());
});

test('unref() lets a connected program end, and the mesh hears a farewell', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, `${BEGINNING}
        const mesh = new MeshConnector(agent);
        await mesh.connect();
        mesh.unref();
        console.log('CONNECTED', mesh.connected);
    `, { gateway });
    assert.equal(await program.wait_line('CONNECTED'), 'true');
    assert.equal(await program.wait(), 0, program.story());
    const agent = await gateway.wait_gone();
    assert.equal(agent.deregistrations, 1);
});

test('ref() takes unref() back', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, `${BEGINNING}
        const mesh = new MeshConnector(agent, { heartbeat_interval_ms: 50 });
        agent.define_capability({ name: 'let_go', description: 'Unrefs', handler: () => void mesh.unref() });
        await mesh.connect();
        mesh.unref();
        mesh.ref();
        console.log('CONNECTED');
    `, { gateway });
    await program.wait_line('CONNECTED');
    const { heartbeats } = await gateway.agent();
    await wait_for(async () => (await gateway.agent()).heartbeats >= heartbeats + 10, 'ten heartbeats');
    assert.equal((await gateway.dispatch('quick', { n: 2 })).result, 2);
    await gateway.dispatch('let_go');
    assert.equal(await program.wait(), 0, program.story());
    await gateway.wait_gone();
});
