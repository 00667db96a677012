// What goes wrong while dispatches are routed, run and answered loses none of them.
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import test from 'node:test';
import { Agent, CapabilityError } from 'svantic';
import { MeshConnector } from 'svantic/mesh';
import { Gateway, wait_for } from './support/gateway.mjs';

/** A connected agent with these handlers by name, and `echo`. Everything ends with the test. */
async function serve(t, handlers, { connector = {}, gateway: args = [] } = {}) {
    const gateway = await Gateway.start({ test: t, args });
    const agent = new Agent({ name: 'tried', description: 'Is tried', instance_id: 'tried-1' });
    for (const [name, handler] of Object.entries({ echo: ({ n }) => n, ...handlers })) {
        agent.define_capability({ name, description: 'Is tried', handler });
    }
    const mesh = new MeshConnector(agent, gateway.config({ logger: false, ...connector }));
    t.after(() => mesh.close());
    await mesh.connect();
    return { agent, gateway, mesh };
}

/** The number at the end of an id of `dispatch_many`. */
const number_of = (context) => Number(context.dispatch_id.split('-').at(-1));

/** A handler `waiting` that answers when it is released, and how many calls of it have begun. */
function held_back() {
    const held = { begun: 0 };
    const released = new Promise((resolve) => (held.release = resolve));
    const waiting = async (_, context) => {
        held.begun += 1;
        await released;
        return number_of(context);
    };
    held.handlers = { waiting };
    return held;
}

async function assert_serves(gateway) {
    for (const n of [1, 2, 3]) assert.equal((await gateway.dispatch('echo', { n })).result, n);
    assert.deepEqual(await gateway.violations(), []);
}

/** Sends so many at once that they share batches, and compares what comes of each, by its number from 1. */
async function assert_many(gateway, skill, count, expected) {
    const ids = await gateway.dispatch_many(skill, {}, { count });
    const answers = await gateway.answers(ids);
    for (const [index, { result, error }] of answers.entries()) {
        const told = error === undefined ? { result } : { code: error.code };
        const said = `${skill} ${index + 1}: ${JSON.stringify(answers[index])}`;
        assert.deepEqual(told, expected(index + 1), said);
    }
}

const hostile = new Proxy(() => {}, {
    get() {
        throw new Error('look away');
    },
    getPrototypeOf() {
        throw new Error('look away');
    },
    has() {
        throw new Error('look away');
    },
    ownKeys() {
        throw new Error('look away');
    },
});

/** A result that gets as far as being written. */
const hostile_but_for_then = new Proxy(hostile, {
    get: (target, name) => (name === 'then' ? undefined : target[name]),
});

class Unsayable extends Error {
    get message() {
        throw new Error('no words');
    }
    get stack() {
        throw new Error('no words');
    }
    toString() {
        throw new Error('no words');
    }
}

class Bare extends CapabilityError {
    constructor() {
        super('bare');
        delete this.message;
        this.code = { toString: () => 'no code' };
        Object.freeze(this);
    }
}

/** What a handler can throw, as people and libraries do. */
const ODD_THINGS = {
    undefined: () => undefined,
    null: () => null,
    number: () => 7,
    bigint: () => 7n,
    empty: () => '',
    symbol: () => Symbol('odd'),
    function: () => () => 'odd',
    bare_object: () => Object.create(null),
    unprintable: () => ({
        toString() {
            throw new Error('no words');
        },
    }),
    hostile: () => hostile,
    revoked: () => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return proxy;
    },
    unsayable: () => new Unsayable(),
    message_of_an_object: () => Object.assign(new Error('x'), { message: { deep: 1n } }),
    message_of_a_symbol: () => Object.assign(new Error('x'), { message: Symbol('odd') }),
    lone_surrogate: () => new Error('half \ud83d of it'),
    nul: () => new Error('before\0after'),
    endless: () => new Error('words '.repeat(1 << 20)),
    cause_of_itself: () => {
        const error = new Error('round');
        error.cause = error;
        return error;
    },
    capability_error: () => new CapabilityError('no such order', { code: 'NO_ORDER' }),
    capability_error_bare: () => new Bare(),
    capability_error_lone_surrogate: () => new CapabilityError('half \ud83d', { code: 'HALF_\ud83d' }),
    capability_error_empty_code: () => new CapabilityError('odd', { code: '' }),
    promise: () => Promise.resolve('odd'),
    thenable: () => ({ then: (resolve) => resolve('odd') }),
};

for (const redact of [false, true]) {
    test(`whatever a handler throws is answered (redact_handler_errors ${redact})`, async (t) => {
        const { gateway } = await serve(
            t,
            {
                throws: ({ which }) => {
                    throw ODD_THINGS[which]();
                },
                rejects: async ({ which }) => {
                    await turn();
                    throw ODD_THINGS[which]();
                },
            },
            { connector: { redact_handler_errors: redact } },
        );
        for (const skill of ['throws', 'rejects']) {
            for (const which of Object.keys(ODD_THINGS)) {
                const { error } = await gateway.dispatch(skill, { which }, { timeout: 20 });
                assert.ok(error?.code, `${skill} ${which}: ${JSON.stringify(error)}`);
                assert.ok(!JSON.stringify(error).includes('look away'), which);
                if (which === 'capability_error') {
                    assert.equal(error.code, 'NO_ORDER');
                    assert.match(error.message, /no such order/);
                }
            }
        }
        await assert_serves(gateway);
    });
}

test('handlers that throw odd things share their batch with those that do not', async (t) => {
    const odd = Object.values(ODD_THINGS);
    const mixed = (_, context) => {
        const number = number_of(context);
        if (number % 2) return number;
        throw odd[number % odd.length]();
    };
    const { gateway } = await serve(t, { mixed, mixed_later: async (...both) => mixed(...both) });
    for (const skill of ['mixed', 'mixed_later']) {
        const ids = await gateway.dispatch_many(skill, {}, { count: 200 });
        for (const [index, answer] of (await gateway.answers(ids)).entries()) {
            const number = index + 1;
            if (number % 2) assert.equal(answer.result, number);
            else assert.ok(answer.error?.code, JSON.stringify(answer));
        }
    }
    await assert_serves(gateway);
});

const cycle = {};
cycle.itself = cycle;

const nested = (levels) => {
    let value = 'bottom';
    for (let level = 0; level < levels; level += 1) value = [value];
    return value;
};

/** Results that are no JSON, or that the library takes for none. */
const NOT_JSON = {
    bigint: () => 1n,
    bigint_within: () => ({ ids: [1, 2n] }),
    cycle: () => cycle,
    function: () => () => 1,
    symbol: () => Symbol('odd'),
    to_json_throws: () => ({
        toJSON() {
            throw new Error('not me');
        },
    }),
    to_json_throws_nothing: () => ({
        toJSON() {
            throw undefined;
        },
    }),
    getter_throws: () => ({
        get total() {
            throw new Error('not me');
        },
    }),
    hostile: () => hostile_but_for_then,
    lone_surrogate: () => 'half \ud83d of it',
    lone_surrogate_as_a_name: () => ({ '\udc00': 1 }),
    too_deep: () => nested(65),
    far_too_deep: () => nested(2_000),
    deeper_than_the_stack: () => nested(1_000_000),
};

for (const how of ['at once', 'later']) {
    test(`a result that is no JSON is refused and spoils no other of its batch, ${how}`, async (t) => {
        const kinds = Object.values(NOT_JSON);
        const mixed = (_, context) => {
            const number = number_of(context);
            return number % 2 ? { number } : kinds[(number / 2) % kinds.length]();
        };
        const each = ({ which }) => NOT_JSON[which]();
        const later = { mixed: async (...both) => mixed(...both), each: async (args) => each(args) };
        const { gateway } = await serve(t, how === 'later' ? later : { mixed, each });
        for (const which of Object.keys(NOT_JSON)) {
            const answer = await gateway.dispatch('each', { which }, { timeout: 20 });
            assert.equal(answer.error?.code, 'INVALID_RESULT', `${which}: ${JSON.stringify(answer)}`);
        }
        await assert_many(gateway, 'mixed', 200, (number) =>
            number % 2 ? { result: { number } } : { code: 'INVALID_RESULT' },
        );
        await assert_serves(gateway);
    });
}

test('a result that is no JSON says which capability and why', async (t) => {
    const { gateway } = await serve(t, { poisonous: () => ({ ids: [1n] }), round: () => cycle });
    const { error } = await gateway.dispatch('poisonous');
    assert.equal(error.code, 'INVALID_RESULT');
    assert.match(error.message, /poisonous/);
    assert.match(error.message, /BigInt/);
    assert.match((await gateway.dispatch('round')).error.message, /circular/);
});

test('what JSON has a way to write is a result', async (t) => {
    const results = {
        nothing: [() => undefined, null],
        nan: [() => NaN, null],
        infinite: [() => [Infinity, -Infinity, NaN], [null, null, null]],
        date: [() => new Date(0), '1970-01-01T00:00:00.000Z'],
        map: [() => new Map([[1, 2]]), {}],
        sparse: [() => [, 1], [null, 1]],
        undefined_within: [() => ({ a: undefined, b: 1 }), { b: 1 }],
        to_json_of_nothing: [() => ({ toJSON: () => undefined }), null],
        boxed: [() => Object('text'), 'text'],
        separators: [() => '\u2028\0\u001f"\\', '\u2028\0\u001f"\\'],
        pair: [() => '\ud83d\ude00', '\ud83d\ude00'],
        deep: [() => nested(60), nested(60)],
        proto: [() => JSON.parse('{"__proto__":{"a":1}}'), JSON.parse('{"__proto__":{"a":1}}')],
    };
    const { gateway } = await serve(t, { result: ({ which }) => results[which][0]() });
    for (const [which, [, expected]] of Object.entries(results)) {
        const answer = await gateway.dispatch('result', { which });
        assert.deepEqual(answer.result, expected, `${which}: ${JSON.stringify(answer)}`);
    }
});

test('a result that is too large is told and spoils no other of its batch', async (t) => {
    const large = (_, context) => (number_of(context) % 2 ? 'small' : 'x'.repeat(5_000));
    const { gateway } = await serve(t, { large }, { connector: { max_frame_bytes: 4096 } });
    await assert_many(gateway, 'large', 100, (number) =>
        number % 2 ? { result: 'small' } : { code: 'RESULT_TOO_LARGE' },
    );
    await assert_serves(gateway);
});

test('results that together are larger than any frame are all answered', async (t) => {
    const big = (_, context) => `${number_of(context)} ${'ä'.repeat(200_000)}`;
    const { gateway } = await serve(t, { big });
    const answers = await gateway.answers(await gateway.dispatch_many('big', {}, { count: 60 }));
    for (const [index, { result }] of answers.entries()) assert.ok(result.startsWith(`${index + 1} ää`));
});

test('thenables and promises of promises end as what they resolve to', async (t) => {
    const handlers = {
        thenable: () => ({ then: (resolve) => resolve('kept') }),
        later: () => ({ then: (resolve) => setTimeout(resolve, 1, 'kept') }),
        twice: () => ({
            then(resolve, reject) {
                resolve('kept');
                resolve('again');
                reject(new Error('and again'));
                throw new Error('and then');
            },
        }),
        nested: async () => Promise.resolve(Promise.resolve('kept')),
        throws: () => ({
            then() {
                throw new Error('told');
            },
        }),
        throwing_getter: () => ({
            get then() {
                throw new Error('told');
            },
        }),
        rejects: () => ({ then: (_, reject) => reject(new Error('told')) }),
    };
    const { gateway } = await serve(t, handlers);
    for (const skill of ['thenable', 'later', 'twice', 'nested']) {
        assert.equal((await gateway.dispatch(skill, {}, { timeout: 20 })).result, 'kept', skill);
    }
    for (const skill of ['throws', 'throwing_getter', 'rejects']) {
        const { error } = await gateway.dispatch(skill, {}, { timeout: 20 });
        assert.equal(error?.code, 'HANDLER_ERROR', skill);
        assert.match(error.message, /told/);
    }
    await assert_serves(gateway);
});

test('listeners that throw cost no answer and no event, and end nobody', async (t) => {
    const rejections = [];
    const note = (error) => rejections.push(error);
    process.on('unhandledRejection', note);
    t.after(() => process.off('unhandledRejection', note));
    const seen = [];
    const gateway = await Gateway.start({ test: t });
    const agent = new Agent({ name: 'tried', description: 'Is tried', instance_id: 'tried-1' });
    agent.define_capability({ name: 'echo', description: 'Gives back', handler: ({ n }) => n });
    const mesh = new MeshConnector(agent, gateway.config({ logger: false }));
    t.after(() => mesh.close());
    for (const name of ['event', 'state', 'connected', 'registered', 'disconnected', 'log']) {
        mesh.on(name, () => {
            throw new Error(`the listener of ${name}`);
        });
        mesh.on(name, () => {
            throw undefined;
        });
    }
    mesh.on('event', ({ name }) => seen.push(name));
    await mesh.connect();
    await assert_serves(gateway);
    await gateway.abort('tried-1');
    await gateway.wait_ready('tried-1', { welcomes: 2 });
    await assert_serves(gateway);
    await mesh.disconnect();
    await mesh.close();
    await turn();
    assert.deepEqual(rejections, []);
    for (const name of ['connected', 'registered', 'disconnected']) assert.ok(seen.includes(name), name);
    assert.equal(seen.filter((name) => name === 'connected').length, 2);
});

test('a logger that throws costs no answer', async (t) => {
    const throws = () => {
        throw new Error('the log is full');
    };
    const logger = { debug: throws, info: throws, warn: throws, error: throws };
    const handlers = {
        failing: () => {
            throw new Error('told');
        },
        poisonous: async () => 1n,
    };
    const { gateway } = await serve(t, handlers, { connector: { logger } });
    for (let round = 0; round < 3; round += 1) {
        assert.match((await gateway.dispatch('failing', {}, { timeout: 20 })).error.message, /told/);
        assert.equal((await gateway.dispatch('poisonous', {}, { timeout: 20 })).error.code, 'INVALID_RESULT');
    }
    await assert_serves(gateway);
});

test('names and ids that JavaScript has a meaning for are served', async (t) => {
    const name_of = async (_, context) => context.skill_id;
    const names = ['constructor', 'then', 'prototype', 'name', 'default'];
    const { gateway } = await serve(t, Object.fromEntries(names.map((name) => [name, name_of])));
    const ids = ['__proto__', 'constructor', '"quoted"\\', 'ünï \u2028 \ud83d\ude00', 'x'.repeat(128)];
    for (const [index, id] of ids.entries()) {
        const answer = await gateway.dispatch(names[index], {}, { id, timeout: 20 });
        assert.deepEqual(answer, { dispatch_id: id, result: names[index] });
    }
    await assert_serves(gateway);
});

test('an answer that comes too late spoils no other of its batch', async (t) => {
    let release;
    const released = new Promise((resolve) => (release = resolve));
    const cancelled = [];
    const mixed = async (_, context) => {
        await released;
        return number_of(context);
    };
    const { gateway, mesh } = await serve(t, { late: mixed }, { connector: { dispatch_timeout_ms: 300 } });
    mesh.on('dispatch_cancelled', ({ dispatch_id, reason }) => cancelled.push([dispatch_id, reason]));
    const ids = await gateway.dispatch_many('late', {}, { count: 20 });
    await wait_for(() => cancelled.length === 20, 'the deadlines of 20 dispatches');
    assert.deepEqual(new Set(cancelled.map(([, reason]) => reason)), new Set(['deadline']));
    const fresh = gateway.dispatch_many('late', {}, { count: 20 });
    release();
    const results = (await gateway.answers(await fresh)).map(({ result }) => result);
    assert.deepEqual(results, Array.from({ length: 20 }, (_, index) => index + 1));
    for (const { error } of await gateway.answers(ids)) assert.ok(error?.code);
    const doubled = (await gateway.ledger()).filter((entry) => entry.answers.length !== 1);
    assert.deepEqual(doubled, []);
    await assert_serves(gateway);
});

test('handlers that are told of the end may answer or throw, once', async (t) => {
    const outcomes = [
        () => 'too late',
        () => {
            throw new Error('too late');
        },
        () => 1n,
    ];
    const told = (_, context) =>
        new Promise((resolve, reject) => {
            context.signal.addEventListener('abort', () => {
                try {
                    resolve(outcomes[number_of(context) % 3]());
                } catch (error) {
                    reject(error);
                }
            });
        });
    const { gateway } = await serve(t, { told }, { connector: { dispatch_timeout_ms: 300 } });
    const ids = await gateway.dispatch_many('told', {}, { count: 12 });
    for (const { error } of await gateway.answers(ids)) assert.ok(error?.code);
    await assert_serves(gateway);
    const entries = await gateway.ledger();
    assert.ok(entries.every((entry) => entry.answers.length === 1));
});

test('what runs when the agent leaves is finished, and its answers arrive', async (t) => {
    const held = held_back();
    const { gateway, mesh } = await serve(t, held.handlers);
    const draining = new Promise((resolve) => mesh.once('draining', resolve));
    const ids = await gateway.dispatch_many('waiting', {}, { count: 30 });
    await wait_for(() => held.begun === 30, 'the start of 30 handlers');
    const left = mesh.disconnect({ timeout_ms: 60_000 });
    assert.equal((await draining).in_flight, 30);
    held.release();
    await left;
    for (const [index, { result }] of (await gateway.answers(ids)).entries()) assert.equal(result, index + 1);
    assert.deepEqual(await gateway.violations(), []);
    await mesh.close();
});

test('a second disconnect ends a drain: each call is answered, and both promises end', async (t) => {
    const reasons = [];
    const note = ({ target }) => reasons.push(target.reason);
    const hung = (_, { signal }) => new Promise(() => signal.addEventListener('abort', note));
    const { gateway, mesh } = await serve(t, { hung });
    const draining = new Promise((resolve) => mesh.once('draining', resolve));
    const started = gateway.dispatch_many('hung', {}, { count: 10 });
    const ids = await started;
    await wait_for(() => mesh.snapshot().in_flight === 10, 'ten running dispatches');
    const first = mesh.disconnect({ timeout_ms: 60_000 });
    await draining;
    await Promise.all([first, mesh.disconnect({ timeout_ms: 60_000 }), mesh.close(), mesh.close()]);
    for (const { error } of await gateway.answers(ids)) assert.equal(error?.code, 'AGENT_SHUTDOWN');
    assert.equal(reasons.length, 10);
});

test('a handler may tell its own connector to leave, and is still heard', async (t) => {
    let left;
    const handlers = {
        leave: () => {
            left = mesh.disconnect();
            return 'bye';
        },
    };
    const { gateway, mesh } = await serve(t, handlers);
    assert.equal((await gateway.dispatch('leave', {}, { timeout: 20 })).result, 'bye');
    await left;
    await mesh.close();
    assert.deepEqual(await gateway.violations(), []);
});

test('a handler that awaits what others have to bring is served', async (t) => {
    const handlers = {
        session: async () => {
            await mesh.close_session(await mesh.create_session());
            await mesh.re_register();
            return 'done';
        },
    };
    const { gateway, mesh } = await serve(t, handlers);
    assert.equal((await gateway.dispatch('session', {}, { timeout: 20 })).result, 'done');
    await assert_serves(gateway);
});

test('arguments are those of one call, whatever its handler does to them', async (t) => {
    const greedy = (args, context) => {
        const seen = args.list.length;
        args.list.push(1);
        delete args.n;
        Object.freeze(args);
        return [seen, number_of(context)];
    };
    const { gateway } = await serve(t, { greedy });
    const ids = await gateway.dispatch_many('greedy', { list: [], n: 1 }, { count: 50 });
    const results = (await gateway.answers(ids)).map(({ result }) => result);
    assert.deepEqual(results, Array.from({ length: 50 }, (_, index) => [0, index + 1]));
});

test('answers that are finished while the link is down arrive with the next one', async (t) => {
    const held = held_back();
    const { gateway, mesh } = await serve(t, held.handlers, { connector: { reconnect_delays_ms: [50] } });
    const gone = new Promise((resolve) => mesh.once('disconnected', resolve));
    const ids = await gateway.dispatch_many('waiting', {}, { count: 25 });
    await wait_for(() => held.begun === 25, 'the start of 25 handlers');
    await gateway.abort('tried-1');
    await gone;
    held.release();
    for (const [index, { result }] of (await gateway.answers(ids)).entries()) assert.equal(result, index + 1);
    await assert_serves(gateway);
});
