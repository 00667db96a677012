// no way to end a program with work in flight hangs or aborts it.
//
// `SVANTIC_TEST_EXITS` (20) programs are ended; they take turns in how.
import assert from 'node:assert/strict';
import test from 'node:test';
import { run_node } from './support/child.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';

const EXITS = Number(process.env.SVANTIC_TEST_EXITS || '20');
/** Programs that run at a time: starting one leaves a processor idle now and then. */
const AT_ONCE = 3;
const LOAD = 300;
const CRASH = /Fatal|FATAL|Segmentation|panicked at|core dumped|terminate called|Check failed|assertion/i;

/** How a program ends: its status, which signal or dispatch is the cause, whether the mesh hears of it. */
const WAYS = {
    exit_in_main: { status: 4 },
    exit_in_handler: { status: 3, dispatch: 'leave' },
    exit_in_promise: { status: 3, dispatch: 'leave_later' },
    uncaught_exception: { status: 1, shows: 'as planned' },
    unhandled_rejection: { status: 1, shows: 'as planned' },
    exception_in_timer: { status: 1, shows: 'as planned' },
    end_of_main: { status: 0 },
    start_sigterm: { status: 0, signal: 'SIGTERM' },
    start_sigint: { status: 0, signal: 'SIGINT' },
    start_exit_in_handler: { status: 3, dispatch: 'leave' },
    default_sigterm: { status: 'SIGTERM', signal: 'SIGTERM', farewell: false },
    sigkill: { status: 'SIGKILL', signal: 'SIGKILL', farewell: false },
};

const PROGRAM = `
import { Agent } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

const way = process.argv[2];
const agent = new Agent({ name: 'exiting', description: 'Ends in every way' });
let answered = 0;
let at_work;
const working = new Promise((resolve) => (at_work = resolve));

const define = (name, handler) => agent.define_capability({ name, description: name, handler });
define('quick', ({ n }) => {
    answered += 1;
    if (answered === 50) {
        console.log('WORKING');
        at_work();
    }
    return n;
});
define('later', async ({ n }) => {
    await new Promise(setImmediate);
    return n;
});
define('stuck', () => new Promise(() => {}));
define('leave', () => process.exit(3));
define('leave_later', async () => {
    await new Promise(setImmediate);
    process.exit(3);
});

// Who drains does not wait for what is stuck.
const options = { drain_timeout_ms: 200 };
if (way.startsWith('start_')) {
    await agent.start(options);
} else {
    const mesh = new MeshConnector(agent, options);
    await mesh.connect();
    await working;
    if (way === 'exit_in_main') process.exit(4);
    if (way === 'uncaught_exception') throw new Error('as planned');
    if (way === 'unhandled_rejection') Promise.reject(new Error('as planned'));
    if (way === 'exception_in_timer') setTimeout(() => { throw new Error('as planned'); }, 1);
    if (way === 'end_of_main') await mesh.close();
}
`;

async function end_one(test_context, gateway, name, number) {
    const way = WAYS[name];
    const instance_id = `exit-${number}`;
    const env = { SVANTIC_INSTANCE_ID: instance_id };
    const program = run_node(test_context, PROGRAM, { gateway, env, args: [name] });
    await wait_for(
        async () => !program.running || (await gateway.agent(instance_id))?.ready,
        `${instance_id}: a connection`,
    );
    const send = (skill, count, args = {}) => gateway.dispatch_many(skill, args, { count, instance_id });
    await send('stuck', 3);
    await send('later', LOAD, { n: 0 });
    await send('quick', LOAD, { n: 1 });
    await program.wait_line('WORKING');
    await send('quick', LOAD, { n: 2 });
    if (way.dispatch) await send(way.dispatch, 1);
    const began = performance.now();
    if (way.signal) program.signal(way.signal);
    const status = await program.wait();
    const took = performance.now() - began;
    assert.equal(status, way.status, `${name}\n${program.story()}`);
    assert.doesNotMatch(program.stderr, CRASH, `${name}\n${program.story()}`);
    if (way.shows) assert.ok(program.stderr.includes(way.shows), program.story());
    const agent = await wait_for(async () => {
        const seen = await gateway.agent(instance_id);
        return !seen.open_sockets && seen;
    }, `the end of the socket of ${instance_id}`);
    const farewell = agent.deregistrations === 1;
    if (way.farewell === false) assert.ok(!farewell, name);
    return { name, took, farewell };
}

test('r40: no exit hangs or aborts with work in flight, and the mesh hears a farewell', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const names = Object.keys(WAYS);
    const took = [];
    let next = 0;
    const lane = async () => {
        while (next < EXITS) {
            const number = next++;
            took.push(await end_one(t, gateway, names[number % names.length], number));
        }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    tell(t, took);
    assert.deepEqual(await gateway.violations(), []);
});

test('r40: process.exit() under load, twenty times', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const took = [];
    for (let number = 0; number < EXITS; number += AT_ONCE) {
        const some = Array.from({ length: Math.min(AT_ONCE, EXITS - number) }, (_, index) => number + index);
        const ways = ['exit_in_main', 'exit_in_handler', 'exit_in_promise'];
        took.push(...await Promise.all(some.map((each) => end_one(t, gateway, ways[each % ways.length], each))));
    }
    tell(t, took);
});

function tell(t, took) {
    const slowest = took.reduce((one, other) => (other.took > one.took ? other : one));
    const farewells = took.filter((each) => each.farewell).length;
    t.diagnostic(`${took.length} exits, the slowest after ${slowest.took.toFixed(0)} ms (${slowest.name})`);
    t.diagnostic(`${farewells} farewells`);
    // Who exits waits a second at most for its farewell, which may be too short for a machine full of work.
    assert.ok(farewells > 0, 'nobody said goodbye');
}

test('process.exit() while a connection is being made hangs nothing', async (t) => {
    for (const stage of ['accept', 'token', 'register', 'upgrade', 'welcome']) {
        const gateway = await Gateway.start({ test: t, faults: { stall: stage } });
        const program = run_node(t, `
            import { Agent } from 'svantic';
            import { MeshConnector } from 'svantic/mesh';
            const mesh = new MeshConnector(new Agent({ name: 'hasty', description: 'Leaves early' }));
            mesh.on('state', () => setTimeout(() => process.exit(6), 20));
            await mesh.connect();
        `, { gateway });
        assert.equal(await program.wait(), 6, `${stage}\n${program.story()}`);
        await gateway.kill();
    }
});

for (const way of ['exit', 'signal']) {
    test(`a mesh that no longer answers holds no program that ends: ${way}`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const program = run_node(t, `
            import { Agent } from 'svantic';
            const agent = new Agent({ name: 'patient', description: 'Says goodbye to nobody' });
            await agent.start({ drain_timeout_ms: 200, http_timeout_ms: 500 });
            console.log('STARTED');
            process.stdin.once('data', () => process.exit(8));
            process.on('SIGTERM', () => process.stdin.destroy());
        `, { gateway });
        await program.wait_line('STARTED');
        gateway.pause();
        if (way === 'exit') program.say();
        else program.signal('SIGTERM');
        assert.equal(await program.wait(), way === 'exit' ? 8 : 0, program.story());
    });
}

test("the program's own listener of 'exit' finds a closed connector that it can ask everything", async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, `
        import { inspect } from 'node:util';
        import { Agent } from 'svantic';
        const agent = new Agent({ name: 'curious', description: 'Looks back' });
        const mesh = await agent.start();
        process.on('exit', () => {
            const { state, connected, token, stats, health, ws_transport } = mesh;
            console.log(JSON.stringify([state, connected, token ?? null, typeof mesh.snapshot()]));
            agent.define_capability({ name: 'late', description: 'Late.', handler() {} });
            mesh.network_changed();
            console.log(inspect(mesh, { breakLength: Infinity }));
        });
        process.exit(9);
    `, { gateway });
    assert.equal(await program.wait(), 9, program.story());
    assert.equal(program.lines[0], '["closed",false,null,"object"]', program.story());
    assert.match(program.lines[1], /^MeshConnector .*'closed'/, program.story());
    assert.equal(program.stderr, '', program.story());
});
