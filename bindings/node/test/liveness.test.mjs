// R-27 and R-27b: a handler that blocks the event loop does not reach the link; a wedged application shows.
//
// The loop is blocked until the test lets it go, so it is held exactly as long as the test wants.
// `SVANTIC_TEST_BLOCKED_S` (15; the full size is 120) is how many heartbeats, one a second, must arrive
// meanwhile.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { folder_with_package, run_node } from './support/child.mjs';
import { GUARD_MS, Gateway, wait_for } from './support/gateway.mjs';

const BLOCKED_S = Number(process.env.SVANTIC_TEST_BLOCKED_S || '15');

const BLOCKING = `
import { existsSync } from 'node:fs';
import { Agent } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

const agent = new Agent({ name: 'blocking', description: 'Blocks its event loop' });
// The witness: a timer, which does not come while the loop is blocked.
let ticks = 0;
const ticking = setInterval(() => (ticks += 1), 50);

const WAYS = {
    busy: () => { while (!existsSync(process.argv[2])); },
    asleep: () => {
        const word = new Int32Array(new SharedArrayBuffer(4));
        while (!existsSync(process.argv[2])) Atomics.wait(word, 0, 0, 100);
    },
};
agent.define_capability({
    name: 'hold',
    description: 'Blocks the loop; how often the timer came meanwhile',
    handler: ({ way }) => {
        const before = ticks;
        WAYS[way]();
        return ticks - before;
    },
});
agent.define_capability({ name: 'end', description: 'Ends it', handler: () => {
    clearInterval(ticking);
    mesh.close();
} });
const mesh = new MeshConnector(agent, {
    heartbeat_interval_ms: 1000, ping_interval_ms: 500, dead_after_ms: 20000, dispatch_timeout_ms: 600000,
});
await mesh.connect();
`;

test('r27: a handler that blocks the event loop stops no heartbeat and no pong', async (t) => {
    const gateway = await Gateway.start({ test: t, args: ['--server-ping', '0.25'] });
    const let_go = path.join(folder_with_package(t), 'let-go');
    const ways = ['busy', 'asleep'];
    const ids = [];
    const programs = ways.map((way) => {
        return run_node(t, BLOCKING, { gateway, args: [let_go], env: { SVANTIC_INSTANCE_ID: way } });
    });
    for (const way of ways) {
        await gateway.wait_ready(way);
        ids.push(...await gateway.dispatch_many('hold', { way }, { count: 1, instance_id: way }));
    }
    const on_their_way = async () => (await gateway.ledger()).every((entry) => entry.sends);
    await wait_for(on_their_way, 'the dispatches on their way');
    const counted = async () => {
        const agents = [];
        for (const way of ways) agents.push(await gateway.agent(way));
        return agents.flatMap((agent) => [agent.heartbeats, agent.round_trips.pongs]);
    };
    const before = await counted();
    await wait_for(
        async () => (await counted()).every((now, index) => now >= before[index] + BLOCKED_S),
        `${BLOCKED_S} heartbeats and pongs while the loop is blocked`,
        BLOCKED_S * 1000 + GUARD_MS,
    );
    assert.equal(await gateway.answered(), 0);
    writeFileSync(let_go, '');
    for (const { result } of await gateway.answers(ids)) assert.equal(result, 0, 'the loop was not blocked');
    for (const way of ways) {
        const agent = await gateway.agent(way);
        assert.deepEqual([agent.connections, agent.welcomes], [1, 1], `${way} reconnected`);
        const trips = agent.round_trips;
        assert.ok(trips.pings - trips.pongs <= 1, `a pong of ${way} is missing`);
        const times = (await gateway.heartbeats(way)).map((heartbeat) => heartbeat.at);
        const gap = Math.max(...times.slice(1).map((time, index) => time - times[index]));
        t.diagnostic(
            `${way}: ${times.length} heartbeats, one a second, largest gap ${gap.toFixed(3)} s; 0 reconnects;`
                + ` ${trips.pongs} pongs, the slowest after ${(trips.longest * 1000).toFixed(1)} ms`,
        );
    }
    for (const way of ways) await gateway.dispatch('end', {}, { instance_id: way });
    for (const program of programs) assert.equal(await program.wait(), 0, program.story());
});

const WEDGED = `
import { readSync } from 'node:fs';
import { Agent } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

const agent = new Agent({ name: 'wedged', description: 'Stops taking work for a while' });
agent.define_capability({ name: 'quick', description: 'Answers at once', handler: ({ n }) => n });
agent.define_capability({ name: 'end', description: 'Ends it', handler: () => void mesh.close() });
const mesh = new MeshConnector(agent, { pick_up_timeout_ms: 400, heartbeat_interval_ms: 500 });
const told = [];
mesh.on('stalled', (data) => told.push(data));
await mesh.connect();
console.log('WEDGED');
// Nothing of this thread runs until a byte comes.
readSync(0, Buffer.alloc(1), 0, 1);
console.log('FREE');
process.on('exit', () => console.log('STALLED', told.length));
`;

test('r27b: an application that takes no work is unhealthy once and available again', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, WEDGED, { gateway });
    await program.wait_line('WEDGED');
    const { instance_id } = await gateway.wait_ready();
    const ids = await gateway.dispatch_many('quick', { n: 1 }, { count: 5 });
    const told = () => gateway.statuses(instance_id);
    const heartbeats = async () => (await gateway.agent()).heartbeats;
    await wait_for(async () => (await told()).includes('unhealthy'), 'the status unhealthy');
    const silent_for = (await heartbeats()) + 4;
    await wait_for(async () => (await heartbeats()) >= silent_for, 'four more heartbeats while it is wedged');
    assert.equal(await gateway.answered(), 0);
    program.say();
    await program.wait_line('FREE');
    assert.deepEqual((await gateway.answers(ids)).map((answer) => answer.result), [1, 1, 1, 1, 1]);
    await wait_for(async () => (await told()).at(-1) === 'available', 'the status available');
    const back = (await heartbeats()) + 4;
    await wait_for(async () => (await heartbeats()) >= back, 'four more heartbeats after it');
    const statuses = (await told()).slice((await told())[0] === 'available' ? 1 : 0);
    assert.deepEqual(statuses, ['unhealthy', 'available']);
    assert.equal((await gateway.agent()).connections, 1);
    await gateway.dispatch('end');
    // That it does not take work, and that it does again: the application is told of both.
    assert.equal(await program.wait_line('STALLED'), '2');
    assert.equal(await program.wait(), 0, program.story());
});
