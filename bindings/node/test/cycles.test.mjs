// connectors come and go, and the process stays as large as it was.
//
// `SVANTIC_TEST_CYCLES` (1000) is the number of create/use/drop cycles; they take turns in how they end.
import assert from 'node:assert/strict';
import test from 'node:test';
import { run_node } from './support/child.mjs';
import { Gateway } from './support/gateway.mjs';

const CYCLES = Number(process.env.SVANTIC_TEST_CYCLES || '1000');
/** What allocators may keep for themselves; a connector that stays is about a tenth of this a cycle. */
const GROWTH_LIMIT_BYTES = 16 << 20;

const CYCLING = `
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Agent } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

const cycles = Number(process.argv[2]);

function make(number, options) {
    const instance_id = 'cycling-' + number;
    const agent = new Agent({ name: 'cycling', description: 'Comes and goes', instance_id });
    agent.define_capability({ name: 'quick', description: 'Answers at once', handler: ({ n }) => n });
    agent.define_capability({ name: 'slow', description: 'Answers later', handler: async ({ n }) => n });
    return new MeshConnector(agent, options);
}

const WAYS = {
    async closed(number) {
        const mesh = make(number);
        await mesh.connect();
        await mesh.close_session(await mesh.create_session());
        await mesh.close();
    },
    async disconnected(number) {
        const mesh = make(number);
        mesh.on('event', () => {});
        mesh.on('state', () => {});
        await mesh.connect();
        await mesh.disconnect();
    },
    async disposed(number) {
        const mesh = make(number);
        await mesh.connect({ signal: new AbortController().signal });
        await mesh[Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]();
    },
    async read(number) {
        const mesh = make(number);
        const names = [];
        const reading = (async () => { for await (const event of mesh.events()) names.push(event.name); })();
        await mesh.connect();
        await mesh.close();
        await reading;
        if (!names.includes('registered')) throw new Error('events: ' + names);
    },
    async given_up(number) {
        const mesh = make(number);
        const giving_up = new AbortController();
        const failure = mesh.connect({ signal: giving_up.signal }).catch((error) => error);
        giving_up.abort(new Error('given up'));
        const error = await failure;
        if (error.message !== 'given up') throw error;
        await mesh.close();
    },
    async unused(number) {
        make(number);
    },
};

async function size() {
    for (let turn = 0; turn < 3; turn += 1) {
        globalThis.gc();
        await pause(1);
    }
    return {
        tasks: readdirSync('/proc/self/task').length,
        fds: readdirSync('/proc/self/fd').length,
        handles: process._getActiveHandles().length,
        heap: process.memoryUsage().heapUsed,
        bytes: Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[1]) * 4096,
    };
}

async function settled(before) {
    // A farewell may still be on its way when the next cycle begins.
    for (let turn = 0; turn < 3000; turn += 1) {
        const now = await size();
        if (['tasks', 'fds', 'handles'].every((key) => now[key] <= before[key])) return now;
        await pause(10);
    }
    return size();
}

const ways = Object.values(WAYS);
let before;
console.log('BEGIN');
const began = performance.now();
for (let number = 0; number < cycles; number += 1) {
    if (number === Math.max(Math.floor(cycles / 5), ways.length)) {
        before = await settled({ tasks: 16, fds: 30, handles: 4 });
    }
    await ways[number % ways.length](number);
    if (number % 10 === 9) {
        globalThis.gc();
        await pause(0);
    }
}
const took = (performance.now() - began) / cycles;
console.log('SIZES', JSON.stringify([before, await settled(before), took]));
`;

test('r40: a thousand cycles leave no thread, no descriptor, no handle and no memory', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, CYCLING, { gateway, flags: ['--expose-gc'], args: [String(CYCLES)] });
    await program.wait_line('BEGIN');
    const line = await program.wait_line('SIZES', 60_000 + CYCLES * 1000);
    const [before, after, took] = JSON.parse(line);
    assert.equal(await program.wait(), 0, program.story());
    t.diagnostic(`${CYCLES} cycles of ${took.toFixed(1)} ms`);
    t.diagnostic(`${JSON.stringify(before)} before, ${JSON.stringify(after)} after`);
    for (const what of ['tasks', 'fds', 'handles']) assert.ok(after[what] <= before[what], what);
    assert.ok(after.bytes - before.bytes < GROWTH_LIMIT_BYTES, 'resident memory grew');
    assert.ok(after.heap - before.heap < GROWTH_LIMIT_BYTES / 4, 'the heap grew');
    await gateway.wait_empty();
    assert.deepEqual(await gateway.violations(), []);
    assert.equal(program.stderr, '', program.story());
});

test('a forgotten connector that was never connected is collected, its handle freed', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, `
        import { setTimeout as pause } from 'node:timers/promises';
        import { Agent } from 'svantic';
        import { MeshConnector } from 'svantic/mesh';

        const make = () => {
            const agent = new Agent({ name: 'forgotten', description: 'Is not kept' });
            agent.define_capability({ name: 'quick', description: 'Answers', handler: () => agent.name });
            const mesh = new MeshConnector(agent);
            mesh.on('event', () => mesh.connected);
            return mesh;
        };
        const id_of_a_new_one = async () => {
            const mesh = make();
            const { instance_id } = mesh;
            await mesh.close();
            return instance_id;
        };
        const forgotten = new WeakRef(make());
        // What a WeakRef has handed out lives to the end of the turn: it is looked at in another one.
        const first = forgotten.deref().instance_id;
        console.log('SECOND', (await id_of_a_new_one()) === first + '-2');
        for (let turn = 0; turn < 500; turn += 1) {
            await pause(1);
            globalThis.gc();
            await pause(1);
            if (forgotten.deref() === undefined) break;
        }
        console.log('COLLECTED', forgotten.deref() === undefined);
        // The id of a process's second agent has a number, so the first handle is gone when it has none.
        let again;
        for (let turn = 0; turn < 500 && again !== first; turn += 1) {
            again = await id_of_a_new_one();
            await pause(10);
        }
        console.log('FREED', again === first);
    `, { gateway, flags: ['--expose-gc'] });
    assert.equal(await program.wait_line('SECOND'), 'true');
    assert.equal(await program.wait_line('COLLECTED'), 'true');
    assert.equal(await program.wait_line('FREED'), 'true');
    assert.equal(await program.wait(), 0, program.story());
});

test('a connector that is connected is kept although nobody holds it', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, `
        import { setTimeout as pause } from 'node:timers/promises';
        import { Agent } from 'svantic';
        import { MeshConnector } from 'svantic/mesh';

        await (async () => {
            const agent = new Agent({ name: 'serving', description: 'Is kept by its connection' });
            agent.define_capability({ name: 'quick', description: 'Answers', handler: ({ n }) => n });
            await new MeshConnector(agent).connect();
        })();
        for (let turn = 0; turn < 20; turn += 1) {
            globalThis.gc();
            await pause(1);
        }
        console.log('COLLECTED ALL');
    `, { gateway, flags: ['--expose-gc'] });
    await program.wait_line('COLLECTED ALL');
    const options = { count: 100 };
    const answers = await gateway.answers(await gateway.dispatch_many('quick', { n: 6 }, options));
    assert.ok(answers.every((answer) => answer.result === 6));
    assert.ok(program.running);
    program.signal('SIGTERM');
    await program.wait();
});
