// Agent.start(): the first signal drains, the second ends at once; and what start() takes, stop() gives back.
import assert from 'node:assert/strict';
import test from 'node:test';
import { run_node } from './support/child.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';

const NUMBERS = { SIGINT: 2, SIGTERM: 15 };

const SERVING = `
import { once } from 'node:events';
import { Agent } from 'svantic';

const agent = new Agent({ name: 'serving', description: 'Serves until it is told to stop' });
agent.define_capability({
    name: 'work',
    description: 'Works until a line comes',
    handler: async ({ n }) => {
        console.log('WORKING');
        await once(process.stdin, 'data');
        process.stdin.pause();
        return n;
    },
});
process.on('exit', (code) => console.log('EXIT', code));
const options = process.argv[2] ? { drain_timeout_ms: Number(process.argv[2]) } : {};
const mesh = await agent.start(options);
console.log('STARTED', mesh === agent.connector, mesh.connected);
`;

const draining = async (gateway) => (await gateway.statuses()).includes('draining');

for (const signal of Object.keys(NUMBERS)) {
    test(`the first ${signal} drains, and the answer in flight arrives`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const program = run_node(t, SERVING, { gateway });
        assert.equal(await program.wait_line('STARTED'), 'true true');
        const ids = await gateway.dispatch_many('work', { n: 5 }, { count: 1 });
        await program.wait_line('WORKING');
        program.signal(signal);
        await wait_for(() => draining(gateway), 'the status draining');
        const refused = await gateway.dispatch('work', { n: 6 });
        assert.equal(refused.error?.code, 'AGENT_SHUTDOWN');
        program.say();
        assert.equal((await gateway.answers(ids))[0].result, 5);
        assert.equal(await program.wait_line('EXIT'), '0');
        assert.equal(await program.wait(), 0, program.story());
        assert.equal((await gateway.wait_gone()).deregistrations, 1);
        assert.equal(program.stderr, '', program.story());
    });

    test(`the second ${signal} ends at once`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        // Draining alone would take an hour.
        const program = run_node(t, SERVING, { gateway, args: ['3600000'] });
        await program.wait_line('STARTED');
        await gateway.dispatch_many('work', { n: 5 }, { count: 1 });
        await program.wait_line('WORKING');
        program.signal(signal);
        await wait_for(() => draining(gateway), 'the status draining');
        program.signal(signal);
        assert.equal(await program.wait(), 128 + NUMBERS[signal], program.story());
        await wait_for(async () => !(await gateway.agent()).open_sockets, 'the end of the socket');
    });
}

test('SIGINT and then SIGTERM: the second signal may be another one', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, SERVING, { gateway, args: ['3600000'] });
    await program.wait_line('STARTED');
    await gateway.dispatch_many('work', { n: 5 }, { count: 1 });
    await program.wait_line('WORKING');
    program.signal('SIGINT');
    await wait_for(() => draining(gateway), 'the status draining');
    program.signal('SIGTERM');
    assert.equal(await program.wait(), 143, program.story());
});

test('a signal while start() is still connecting ends the program', async (t) => {
    const gateway = await Gateway.start({ test: t, faults: { stall: 'welcome' } });
    const program = run_node(t, SERVING, { gateway });
    const asked = async () => (await gateway.requests()).some((each) => each.path === '/agents/connect');
    await wait_for(asked, 'an upgrade');
    program.signal('SIGTERM');
    const status = await program.wait();
    assert.ok(Number.isInteger(status), program.story());
    assert.ok(!program.lines.some((line) => line.startsWith('STARTED')), program.story());
    t.diagnostic(`status ${status}; ${program.stderr.split('\n')[0]}`);
});

test('start() takes two signals, stop() gives them back and leaves what others listen to', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, `
        import { Agent } from 'svantic';
        const names = ['SIGINT', 'SIGTERM', 'SIGHUP'];
        const count = () => names.map((name) => process.listenerCount(name)).join(' ');
        process.on('SIGTERM', () => console.log('MINE'));
        const agent = new Agent({ name: 'polite', description: 'Gives back what it took' });
        const before = count();
        await agent.start();
        const during = count();
        await agent.stop();
        console.log('COUNTS', before, during, count());
        await agent.start();
        console.log('AGAIN', count(), agent.connector.connected);
        await agent.stop();
        await agent.start({ handle_signals: false });
        console.log('WITHOUT', count());
        await agent.stop();
        await agent.stop();
        process.removeAllListeners('SIGTERM');
    `, { gateway });
    assert.equal(await program.wait_line('COUNTS'), '0 1 0 1 2 0 0 1 0');
    assert.equal(await program.wait_line('AGAIN'), '1 2 0 true');
    assert.equal(await program.wait_line('WITHOUT'), '0 1 0');
    assert.equal(await program.wait(), 0, program.story());
    await gateway.wait_gone();
});

for (const listened of [false, true]) {
    const who = listened ? 'unless somebody listens' : 'and ends with status 1';
    test(`a started agent whose connector fails for good says so ${who}`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const program = run_node(t, `
            import { Agent } from 'svantic';
            const agent = new Agent({ name: 'doomed', description: 'Is refused for good' });
            const mesh = await agent.start({ auto_reconnect: false });
            if (${listened}) mesh.on('failed', () => console.log('HEARD'));
            console.log('STARTED');
        `, { gateway });
        await program.wait_line('STARTED');
        await gateway.abort((await gateway.wait_ready()).instance_id);
        if (listened) await program.wait_line('HEARD');
        assert.equal(await program.wait(), listened ? 0 : 1, program.story());
        if (!listened) assert.notEqual(program.stderr, '');
    });
}
