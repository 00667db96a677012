// worker_threads: each worker has its own connectors, and however it ends, its agents end with it.
//
// `SVANTIC_TEST_TERMINATIONS` (50) workers are terminated under load.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import test from 'node:test';
import { run_node } from './support/child.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';

const TERMINATIONS = Number(process.env.SVANTIC_TEST_TERMINATIONS || '50');
const LOAD = 120;

const WORKER = `
import { parentPort, workerData } from 'node:worker_threads';
import { Agent } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

const { instance_id, way } = workerData;
const agent = new Agent({ name: 'working', description: 'Lives in a worker', instance_id });
let answered = 0;
const define = (name, handler) => agent.define_capability({ name, description: name, handler });
define('quick', ({ n }) => {
    answered += 1;
    if (answered === 50) parentPort.postMessage('WORKING');
    return n;
});
define('later', async ({ n }) => {
    await new Promise(setImmediate);
    return n;
});
define('stuck', () => new Promise(() => {}));
define('leave', () => process.exit(9));
define('crash', () => void setImmediate(() => { throw new Error('as planned'); }));
define('end', () => void setImmediate(() => mesh.close()));
define('let_go', () => void mesh.unref());
define('busy', () => { for (;;); });
const mesh = new MeshConnector(agent, { drain_timeout_ms: 200 });
await mesh.connect();
if (way === 'unref') mesh.unref();
parentPort.postMessage('CONNECTED');
`;

/** Does as its stdin says: connect, start ID, terminate ID, exit CODE, close; tells what its workers do. */
const MAIN = `
import readline from 'node:readline';
import { Worker } from 'node:worker_threads';

const workers = new Map();
const lines = readline.createInterface({ input: process.stdin });

async function connect_here() {
    const { Agent } = await import('svantic');
    const { MeshConnector } = await import('svantic/mesh');
    const agent = new Agent({ name: 'main', description: 'Lives in the main thread', instance_id: 'main' });
    agent.define_capability({ name: 'main_quick', description: 'Answers', handler: ({ n }) => n });
    const mesh = new MeshConnector(agent);
    mesh.on('disconnected', () => console.log('MAIN LOST ITS CONNECTION'));
    await mesh.connect();
    return mesh;
}

let mesh;
lines.on('line', async (line) => {
    const [what, id, way] = line.split(' ');
    if (what === 'connect') {
        mesh = await connect_here();
        console.log('MAIN CONNECTED');
    } else if (what === 'start') {
        const worker = new Worker(new URL('worker.mjs', import.meta.url), {
            workerData: { instance_id: id, way },
        });
        workers.set(id, worker);
        worker.on('message', (text) => console.log(text, id));
        worker.on('error', (error) => console.log('ERROR', id, error.message));
        worker.on('exit', (code) => console.log('GONE', id, code));
    } else if (what === 'terminate') {
        await workers.get(id).terminate();
    } else if (what === 'exit') {
        process.exit(Number(id));
    } else if (what === 'close') {
        await mesh?.close();
        lines.close();
    }
});
console.log('READY');
`;

async function run_main(t, { connected = true } = {}) {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, MAIN, { gateway, files: { 'worker.mjs': WORKER } });
    await program.wait_line('READY');
    if (connected) {
        program.say('connect');
        await program.wait_line('MAIN CONNECTED');
    }
    return { gateway, program };
}

async function start_under_load(gateway, program, id, way = '') {
    program.say(`start ${id} ${way}`);
    await program.wait_line(`CONNECTED ${id}`);
    const send = (skill, count, args = {}) => gateway.dispatch_many(skill, args, { count, instance_id: id });
    await send('stuck', 3);
    await send('later', LOAD, { n: 0 });
    await send('quick', LOAD, { n: 1 });
    await program.wait_line(`WORKING ${id}`);
    await send('quick', LOAD, { n: 2 });
}

async function check_main(gateway, program) {
    assert.equal((await gateway.dispatch('main_quick', { n: 8 }, { instance_id: 'main' })).result, 8);
    const main = await gateway.agent('main');
    assert.deepEqual([main.ready, main.connections, main.deregistrations], [true, 1, 0]);
    assert.ok(!program.lines.includes('MAIN LOST ITS CONNECTION'), program.story());
}

async function end_main(gateway, program) {
    program.say('close');
    assert.equal(await program.wait(), 0, program.story());
    await gateway.wait_empty();
    assert.deepEqual(await gateway.violations(), []);
}

test('r40: workers terminated under load take their agents with them and nothing else', async (t) => {
    const { gateway, program } = await run_main(t);
    for (let number = 0; number < TERMINATIONS; number += 1) {
        const id = `worker-${number}`;
        await start_under_load(gateway, program, id);
        program.say(`terminate ${id}`);
        assert.equal(await program.wait_line(`GONE ${id}`), '1');
        await gateway.wait_gone(id);
        if (number % 10 === 0) await check_main(gateway, program);
    }
    await check_main(gateway, program);
    await end_main(gateway, program);
});

test('a worker that is terminated while its handler never returns takes its agent with it', async (t) => {
    const { gateway, program } = await run_main(t);
    await start_under_load(gateway, program, 'spinning');
    await gateway.dispatch_many('busy', {}, { count: 1, instance_id: 'spinning' });
    program.say('terminate spinning');
    await program.wait_line('GONE spinning');
    await gateway.wait_gone('spinning');
    await check_main(gateway, program);
    await end_main(gateway, program);
});

const ENDS = {
    'calls process.exit()': { skill: 'leave', code: '9' },
    'throws what nobody catches': { skill: 'crash', code: '1', error: 'as planned' },
    'closes its connector': { skill: 'end', code: '0' },
    'lets its connector go with unref()': { skill: 'let_go', code: '0' },
};

for (const [how, { skill, code, error }] of Object.entries(ENDS)) {
    test(`a worker that ${how} ends, its agent is gone, and the main thread goes on`, async (t) => {
        const { gateway, program } = await run_main(t);
        await start_under_load(gateway, program, 'ending');
        await gateway.dispatch_many(skill, {}, { count: 1, instance_id: 'ending' });
        if (error) assert.equal(await program.wait_line('ERROR ending'), error);
        assert.equal(await program.wait_line('GONE ending'), code, program.story());
        await gateway.wait_gone('ending');
        await check_main(gateway, program);
        await end_main(gateway, program);
    });
}

test('a worker whose connector was never referenced ends by itself', async (t) => {
    const { gateway, program } = await run_main(t);
    program.say('start free unref');
    assert.equal(await program.wait_line('GONE free'), '0', program.story());
    await gateway.wait_gone('free');
    await check_main(gateway, program);
    await end_main(gateway, program);
});

test('several workers serve at once, each its own dispatches', async (t) => {
    const { gateway, program } = await run_main(t);
    const ids = Array.from({ length: 6 }, (_, number) => `side-${number}`);
    for (const id of ids) program.say(`start ${id}`);
    for (const id of ids) await gateway.wait_ready(id);
    const sent = [];
    for (const id of ids) {
        const options = { count: LOAD, instance_id: id };
        sent.push(...(await gateway.dispatch_many('quick', { n: id }, options)).map((each) => [each, id]));
    }
    const answers = await gateway.answers(sent.map(([each]) => each));
    assert.deepEqual(answers.map((answer) => answer.result), sent.map(([, id]) => id));
    await check_main(gateway, program);
    for (const id of ids) program.say(`terminate ${id}`);
    for (const id of ids) await gateway.wait_gone(id);
    await check_main(gateway, program);
    await end_main(gateway, program);
});

for (const connected of [true, false]) {
    const where = connected ? 'and here' : 'only';
    // The second case is koffi#274: the library is loaded in workers alone.
    test(`process.exit() while workers are under load hangs nothing: in workers ${where}`, async (t) => {
        const { gateway, program } = await run_main(t, { connected });
        for (const id of ['one', 'two', 'three']) await start_under_load(gateway, program, id);
        program.say('exit 5');
        assert.equal(await program.wait(), 5, program.story());
        // Nobody waits for farewells where the main thread has nothing to do with the mesh.
        if (connected) await gateway.wait_empty();
        const open = async () => (await gateway.agents()).filter((agent) => agent.open_sockets).length;
        await wait_for(async () => (await open()) === 0, 'the end of every socket');
    });
}

test('a worker that is gone leaves no thread and no descriptor', async (t) => {
    const { gateway, program } = await run_main(t);
    const count = (what) => readdirSync(`/proc/${program.pid}/${what}`).length;
    const one = async (id) => {
        await start_under_load(gateway, program, id);
        program.say(`terminate ${id}`);
        await program.wait_line(`GONE ${id}`);
        await gateway.wait_gone(id);
    };
    for (const number of [1, 2, 3]) await one(`first-${number}`);
    const before = [count('task'), count('fd')];
    for (const number of [1, 2, 3, 4, 5]) await one(`more-${number}`);
    const settled = () => count('task') <= before[0] && count('fd') <= before[1];
    await wait_for(settled, `as few threads and descriptors as before: ${before}`);
    await end_main(gateway, program);
});
