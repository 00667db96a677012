// Many dispatches, failing handlers, broken links: each dispatch runs once and is answered once.
//
// `SVANTIC_TEST_DISPATCHES` (10000) is how many come at once.
import assert from 'node:assert/strict';
import test from 'node:test';
import { GUARD_MS, Gateway, wait_for } from './support/gateway.mjs';
import { Agent, CapabilityError } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

const DISPATCHES = Number(process.env.SVANTIC_TEST_DISPATCHES || '10000');
const ROOM = { max_pending_dispatches: 1_000_000, dispatch_timeout_ms: 600_000 };

function new_agent(capabilities = {}) {
    const agent = new Agent({ name: 'loaded', description: 'Does what it is asked' });
    for (const [name, handler] of Object.entries(capabilities)) {
        agent.define_capability({ name, description: name, handler });
    }
    return agent;
}

function counting_agent() {
    const runs = new Map();
    const count = (_, { dispatch_id }) => {
        runs.set(dispatch_id, (runs.get(dispatch_id) ?? 0) + 1);
        return dispatch_id;
    };
    const agent = new_agent({
        at_once: count,
        promised: async (args, context) => count(args, context),
        next_turn: async (args, context) => {
            await new Promise(setImmediate);
            return count(args, context);
        },
        in_a_while: (args, context) => new Promise((resolve) => {
            setTimeout(() => resolve(count(args, context)), Math.random() * 50);
        }),
    });
    return { agent, runs };
}

async function connect(gateway, agent, options = {}) {
    const mesh = new MeshConnector(agent, gateway.config({ ...ROOM, ...options }));
    gateway.at_end(() => mesh.close());
    await mesh.connect();
    return mesh;
}

/** Each was answered, and by one answer only (or by the same bytes again); each ran once. */
async function check_once(gateway, ids, runs) {
    const entries = new Map((await gateway.ledger()).map((entry) => [entry.id, entry]));
    const wrong = ids.filter((id) => !entries.get(id)?.copies || !entries.get(id).all_identical);
    assert.deepEqual(wrong, []);
    assert.deepEqual(await gateway.violations(), []);
    if (!runs) return entries;
    assert.deepEqual([...runs.keys()].sort(), [...ids].sort());
    assert.equal(Math.max(...runs.values()), 1);
    return entries;
}

const SOME = DISPATCHES / 5;
const MANY = { at_once: DISPATCHES, promised: DISPATCHES, next_turn: SOME, in_a_while: SOME };

for (const [skill, count] of Object.entries(MANY)) {
    test(`${count} dispatches at once are answered once each: ${skill}`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const { agent, runs } = counting_agent();
        await connect(gateway, agent);
        const ids = await gateway.dispatch_many(skill, {}, { count });
        const answers = await gateway.answers(ids, GUARD_MS + count * 10);
        assert.deepEqual(answers.map((answer) => answer.result), ids);
        const entries = await check_once(gateway, ids, runs);
        assert.ok([...entries.values()].every((entry) => entry.copies === 1));
    });
}

test('timers and other input go on while ten thousand dispatches are served', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const { agent } = counting_agent();
    const mesh = await connect(gateway, agent);
    let turns = 0;
    const ticking = setInterval(() => (turns += 1), 1);
    t.after(() => clearInterval(ticking));
    const ids = await gateway.dispatch_many('at_once', {}, { count: DISPATCHES });
    await gateway.answers(ids, GUARD_MS + DISPATCHES * 10);
    assert.ok(turns > 5, `the loop took ${turns} turns`);
    assert.ok(mesh.connected);
});

const FAILING = {
    throws: [() => { throw new Error('no such order'); }, 'HANDLER_ERROR', /no such order$/],
    declared: [() => { throw new CapabilityError('out of stock'); }, 'HANDLER_ERROR', /out of stock$/],
    coded: [
        () => { throw new CapabilityError('out of stock', { code: 'SOLD_OUT' }); },
        'SOLD_OUT',
        /out of stock$/,
    ],
    rejects: [async () => { throw new TypeError('not an order'); }, 'HANDLER_ERROR', /not an order$/],
    rejects_later: [
        async () => {
            await new Promise(setImmediate);
            throw new Error('later');
        }, 'HANDLER_ERROR', /later$/,
    ],
    without_text: [() => { throw new Error(); }, 'HANDLER_ERROR', /./],
    text: [() => { throw 'only text'; }, 'HANDLER_ERROR', /only text$/],
    nothing: [() => { throw undefined; }, 'HANDLER_ERROR', /undefined/],
    object: [() => { throw Object.create(null); }, 'HANDLER_ERROR', /./],
    symbol: [() => { throw Symbol('sign'); }, 'HANDLER_ERROR', /./],
    unsayable: [
        () => { throw { toString() { throw new Error('no words'); } }; }, 'HANDLER_ERROR', /./,
    ],
    trapped: [
        () => {
            const error = new Error('x');
            Object.defineProperty(error, 'message', { get() { throw new Error('no words'); } });
            Object.defineProperty(error, 'stack', { get() { throw new Error('no stack'); } });
            throw error;
        }, 'HANDLER_ERROR', /./,
    ],
    proxy: [
        () => {
            throw new Proxy(new Error('hidden'), {
                get() { throw new Error('no'); },
                getPrototypeOf() { throw new Error('no'); },
            });
        }, 'HANDLER_ERROR', /./,
    ],
    recursion: [function deeper() { return [deeper()]; }, 'HANDLER_ERROR', /call stack/],
    bigint: [() => 1n, 'INVALID_RESULT', /BigInt/i],
    cycle: [
        () => {
            const one = {};
            one.self = one;
            return one;
        }, 'INVALID_RESULT', /circular/i,
    ],
    function_result: [() => () => 1, 'INVALID_RESULT', /function_result/],
    symbol_result: [() => Symbol('sign'), 'INVALID_RESULT', /symbol_result/],
    bad_json: [() => ({ toJSON() { throw new Error('not today'); } }), 'INVALID_RESULT', /not today/],
    thenable: [
        () => ({ then(_, reject) { reject(new Error('no promise')); } }), 'HANDLER_ERROR', /no promise$/,
    ],
    bad_thenable: [
        () => ({ get then() { throw new Error('no then'); } }), 'HANDLER_ERROR', /no then$/,
    ],
};

test('every kind of failure is answered, and the next dispatch is served', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const handlers = Object.entries(FAILING).map(([name, [handler]]) => [name, handler]);
    const agent = new_agent({ ...Object.fromEntries(handlers), fine: () => 'fine' });
    const mesh = await connect(gateway, agent, { logger: false });
    for (const [name, [, code, message]] of Object.entries(FAILING)) {
        const answer = await gateway.dispatch(name);
        assert.equal(answer.error?.code, code, `${name}: ${JSON.stringify(answer)}`);
        assert.match(answer.error.message, message, name);
        assert.equal((await gateway.dispatch('fine')).result, 'fine', name);
    }
    assert.equal((await gateway.agent()).connections, 1);
    assert.ok(mesh.connected);
});

test('failing handlers inside a batch touch none of the others', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const names = Object.keys(FAILING);
    let number = 0;
    const agent = new_agent({
        mixed: (args, context) => {
            number += 1;
            if (number % 3) return { number: context.dispatch_id };
            return FAILING[names[(number / 3) % names.length]][0](args, context);
        },
    });
    await connect(gateway, agent, { logger: false });
    const ids = await gateway.dispatch_many('mixed', {}, { count: 3000 });
    const answers = await gateway.answers(ids);
    assert.equal(answers.filter((answer) => answer.error).length, 1000);
    for (const answer of answers) {
        if (!answer.error) assert.deepEqual(answer.result, { number: answer.dispatch_id });
    }
    const entries = await check_once(gateway, ids);
    assert.ok([...entries.values()].every((entry) => entry.copies === 1));
});

test('what JSON makes of a result is what the mesh gets', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const results = {
        nothing: [undefined, null],
        none: [null, null],
        date: [new Date(0), '1970-01-01T00:00:00.000Z'],
        own: [{ toJSON: () => [1, 2] }, [1, 2]],
        holes: [{ a: undefined, b: [undefined, () => 1], c: NaN }, { b: [null, null], c: null }],
        text: ['ünïcode \u2028 \ud83d\ude00 "quoted" \0', 'ünïcode \u2028 \ud83d\ude00 "quoted" \0'],
        zero: [0, 0],
        no: [false, false],
        proto: [JSON.parse('{"__proto__": 1}'), JSON.parse('{"__proto__": 1}')],
    };
    const handlers = Object.entries(results).map(([name, [value]]) => [name, () => value]);
    const agent = new_agent({ ...Object.fromEntries(handlers), lone: () => 'a\ud800b' });
    await connect(gateway, agent);
    for (const [name, [, wanted]] of Object.entries(results)) {
        assert.deepEqual((await gateway.dispatch(name, {}, { timeout: 10 })).result, wanted, name);
    }
    // Half a character: JSON.stringify() escapes it, and whoever reads that strictly loses the whole frame.
    const { error } = await gateway.dispatch('lone', {}, { timeout: 10 });
    assert.equal(error?.code, 'INVALID_RESULT');
    assert.deepEqual(await gateway.violations(), []);
    assert.equal((await gateway.agent()).connections, 1);
});

for (const skill of ['at_once', 'next_turn']) {
    test(`connections reset all the time lose no answer and run nothing twice: ${skill}`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const { agent, runs } = counting_agent();
        const count = DISPATCHES / 5;
        const mesh = await connect(gateway, agent, { reconnect_delays_ms: [5, 20] });
        const resets = Array.from({ length: 10 }, (_, each) => 50 + each * (count / 10));
        await gateway.set_script(
            ...resets.map((nth) => ({ on: 'answer', nth, do: 'rst' })),
            { at: 0, do: { dispatch: { skill_id: skill, args: {}, id: 'cut', count } } },
        );
        const ids = Array.from({ length: count }, (_, each) => `cut-${each + 1}`);
        const answers = await gateway.answers(ids, GUARD_MS * 2);
        assert.deepEqual(answers.map((answer) => answer.result), ids);
        const { connections } = await gateway.agent(mesh.instance_id);
        await check_once(gateway, ids, runs);
        assert.ok(connections > 1);
        t.diagnostic(`${count} dispatches over ${connections} connections, each run once`);
    });
}

test('a gateway killed under load is found again and served', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const { agent } = counting_agent();
    const mesh = await connect(gateway, agent, { reconnect_delays_ms: [5, 20] });
    for (let round = 0; round < 3; round += 1) {
        await gateway.dispatch_many('in_a_while', {}, { count: 500 });
        await gateway.kill();
        await wait_for(() => mesh.state === 'reconnecting', 'the end of the connection');
        await gateway.restart();
        // By itself the agent registers once a minute at most, so as not to be one of a thousand.
        await mesh.re_register();
        await gateway.wait_ready(mesh.instance_id);
        const answer = await gateway.dispatch('at_once');
        assert.equal(answer.result, answer.dispatch_id);
    }
    assert.ok(mesh.connected);
});

test('disconnect() waits for what is running and lets its answer out', async (t) => {
    const gateway = await Gateway.start({ test: t });
    let started = 0;
    let go_on;
    const may_go_on = new Promise((resolve) => (go_on = resolve));
    const agent = new_agent({
        work: async ({ n }) => {
            started += 1;
            await may_go_on;
            return n;
        },
    });
    const mesh = await connect(gateway, agent);
    const ids = await gateway.dispatch_many('work', { n: 4 }, { count: 4 });
    await wait_for(() => started === 4, 'four running handlers');
    let ended = false;
    const ending = mesh.disconnect().then(() => (ended = true));
    await wait_for(async () => (await gateway.statuses()).includes('draining'), 'the status draining');
    assert.equal(ended, false);
    go_on();
    await ending;
    assert.deepEqual((await gateway.answers(ids)).map((answer) => answer.result), [4, 4, 4, 4]);
    await gateway.wait_gone();
});

test('disconnect() and close() from a handler hang nothing', async (t) => {
    for (const how of ['disconnect', 'close']) {
        const gateway = await Gateway.start({ test: t });
        let outcome;
        const agent = new_agent({
            end: async () => {
                await mesh[how]().then(() => (outcome = 'done'), (error) => (outcome = error.code));
                return how;
            },
        });
        const mesh = await connect(gateway, agent, { drain_timeout_ms: 500 });
        await gateway.dispatch_many('end', {}, { count: 1 });
        await wait_for(() => outcome, "the handler's outcome");
        await mesh.wait_closed();
        await gateway.wait_gone();
    }
});
