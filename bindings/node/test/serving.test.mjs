// Handlers, results and failures: each dispatch has its own answer, whatever another handler does.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import vm from 'node:vm';
import { CapabilityError } from 'svantic';
import { connected, deferred, keeping_logger } from './support/agents.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';

test('a result is what its handler returns, now or later', async (t) => {
    const gateway = await Gateway.start({ test: t });
    await connected(t, gateway, {
        sync: ({ n }) => ({ n }),
        async_now: async ({ n }) => n,
        async_later: async ({ n }) => {
            await new Promise((resolve) => setImmediate(resolve));
            return [n];
        },
        thenable: ({ n }) => ({ then: (resolve) => resolve(`then ${n}`) }),
        function_thenable: ({ n }) => Object.assign(() => {}, { then: (resolve) => resolve(n) }),
        nothing: () => {},
        nothing_later: async () => {},
        date: () => new Date(0),
        backslashes: () => ['\\ud800', '\\\\ud800', '\u{1f600}'],
    });
    const result = async (skill) => (await gateway.dispatch(skill, { n: 5 })).result;
    assert.deepEqual(await result('sync'), { n: 5 });
    assert.equal(await result('async_now'), 5);
    assert.deepEqual(await result('async_later'), [5]);
    assert.equal(await result('thenable'), 'then 5');
    assert.equal(await result('function_thenable'), 5);
    assert.equal(await result('nothing'), null);
    assert.equal(await result('nothing_later'), null);
    assert.deepEqual(await result('backslashes'), ['\\ud800', '\\\\ud800', '\u{1f600}']);
    assert.equal(await result('date'), '1970-01-01T00:00:00.000Z');
});

test('what a handler does wrong is told to the mesh and touches no other of its batch', async (t) => {
    const cycle = {};
    cycle.itself = cycle;
    const wrong = {
        throws: [
            () => {
                throw new Error('at once');
            },
            'HANDLER_ERROR',
            /at once/,
        ],
        rejects: [
            async () => {
                throw new RangeError('later');
            },
            'HANDLER_ERROR',
            /later/,
        ],
        throws_text: [
            () => {
                throw 'only text';
            },
            'HANDLER_ERROR',
            /only text/,
        ],
        throws_nothing: [async () => Promise.reject(), 'HANDLER_ERROR', /undefined/],
        throws_unsayable: [
            () => {
                throw Object.create(null);
            },
            'HANDLER_ERROR',
            /cannot say/,
        ],
        throws_trap: [
            () => {
                throw new Proxy(
                    {},
                    {
                        get: () => {
                            throw new Error('trap');
                        },
                        getPrototypeOf: () => {
                            throw new Error('t');
                        },
                    },
                );
            },
            'HANDLER_ERROR',
            /cannot say/,
        ],
        throws_surrogate: [
            () => {
                throw new Error('half \ud800 of one');
            },
            'HANDLER_ERROR',
            /half \ufffd of one/,
        ],
        throws_foreign: [
            () => {
                throw vm.runInNewContext('new Error("from elsewhere")');
            },
            'HANDLER_ERROR',
            /from elsewhere/,
        ],
        with_code: [
            () => {
                throw new CapabilityError('mine', { code: 'NO_SUCH_ORDER' });
            },
            'NO_SUCH_ORDER',
            /mine/,
        ],
        with_spoilt_code: [
            () => {
                throw Object.assign(new CapabilityError('mine'), { code: 'a\nb' });
            },
            'HANDLER_ERROR',
            /mine/,
        ],
        bigint: [() => 10n, 'INVALID_RESULT', /capability "bigint".*BigInt/],
        cyclic: [async () => cycle, 'INVALID_RESULT', /circular/],
        a_function: [() => () => {}, 'INVALID_RESULT', /function/],
        a_symbol: [async () => Symbol('s'), 'INVALID_RESULT', /symbol/],
        to_json: [
            () => ({
                toJSON() {
                    throw new Error('no JSON');
                },
            }),
            'INVALID_RESULT',
            /no JSON/,
        ],
        half_text: [() => ({ text: '\ud800' }), 'INVALID_RESULT', /surrogate.*UTF-8/],
        half_key: [() => ({ ['\udfff']: 1 }), 'INVALID_RESULT', /surrogate/],
        too_deep: [() => JSON.parse(`${'['.repeat(100)}${']'.repeat(100)}`), 'INVALID_RESULT', /deep/],
        far_too_deep: [
            () => {
                let v = [];
                for (let i = 0; i < 1e5; i += 1) v = [v];
                return v;
            },
            'INVALID_RESULT',
            /stack|nested/,
        ],
        then_throws: [
            () => ({
                then() {
                    throw new Error('then threw');
                },
            }),
            'HANDLER_ERROR',
            /then threw/,
        ],
        then_getter: [
            () => ({
                get then() {
                    throw new Error('no then');
                },
            }),
            'HANDLER_ERROR',
            /no then/,
        ],
        spoilt_promise: [
            () =>
                Object.assign(Promise.resolve(1), {
                    then() {
                        throw new Error('own then');
                    },
                }),
            'HANDLER_ERROR',
            /own then/,
        ],
    };
    const gateway = await Gateway.start({ test: t });
    const handlers = Object.fromEntries(Object.entries(wrong).map(([name, [handler]]) => [name, handler]));
    await connected(t, gateway, handlers);
    const names = Object.keys(wrong);
    // All in one script, so that they come together and mixed with sound ones.
    const steps = [...names, ...names].flatMap((name, index) => [
        { at: 0, do: { dispatch: { skill_id: name, args: {}, id: `${name}-${index}` } } },
        { at: 0, do: { dispatch: { skill_id: 'echo', args: { index }, id: `echo-${index}` } } },
    ]);
    await gateway.set_script(...steps);
    const answers = await gateway.answers(steps.map((step) => step.do.dispatch.id));
    for (const [at, answer] of answers.entries()) {
        const index = at >> 1;
        if (at % 2 === 1) {
            assert.deepEqual(answer.result, { index });
            continue;
        }
        const [, code, words] = wrong[names[index % names.length]];
        assert.equal(answer.error?.code, code, names[index % names.length]);
        assert.match(answer.error.message, words);
    }
    assert.deepEqual(await gateway.violations(), []);
});

test('a result is what it was when it was returned, also when its object is used again', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const shared = { n: 0 };
    await connected(t, gateway, { shares: ({ n }) => Object.assign(shared, { n }) });
    const steps = Array.from({ length: 200 }, (_, n) => ({
        at: 0,
        do: { dispatch: { skill_id: 'shares', args: { n }, id: `shares-${n}` } },
    }));
    await gateway.set_script(...steps);
    const answers = await gateway.answers(steps.map((step) => step.do.dispatch.id));
    assert.deepEqual(
        answers.map((answer) => answer.result.n),
        steps.map((_, n) => n),
    );
});

test('arguments and results may have keys such as __proto__, and poison nothing', async (t) => {
    const gateway = await Gateway.start({ test: t });
    let seen;
    await connected(t, gateway, { look: (args) => ((seen = args), args) });
    const args = JSON.parse('{"__proto__":{"polluted":true},"constructor":1,"toString":"x"}');
    const { result } = await gateway.dispatch('look', args);
    assert.ok(Object.hasOwn(seen, '__proto__') && Object.hasOwn(result, '__proto__'));
    assert.equal({}.polluted, undefined);
    assert.equal(result.constructor, 1);
});

test('a handler may use its connector, and a second connector of its agent', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const handlers = {
        uses: async () => {
            const id = await mesh.create_session();
            await mesh.close_session(id);
            await mesh.re_register();
            return mesh.state;
        },
        reads: () => [mesh.state, mesh.connected, mesh.snapshot().health.live],
    };
    const mesh = await connected(t, gateway, handlers);
    assert.equal((await gateway.dispatch('uses')).result, 'connected');
    assert.deepEqual((await gateway.dispatch('reads')).result, ['connected', true, true]);
});

test('redact_handler_errors leaves a CapabilityError its message, and the log the rest', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const logger = keeping_logger();
    const handlers = {
        secret: () => {
            throw new Error('password is hunter2');
        },
        meant: () => {
            throw new CapabilityError('for the caller');
        },
    };
    await connected(t, gateway, handlers, { redact_handler_errors: true, logger });
    const { error } = await gateway.dispatch('secret');
    assert.equal(error.code, 'HANDLER_ERROR');
    assert.doesNotMatch(error.message, /hunter2/);
    const [, error_id] = /error id ([0-9a-f-]{36})/.exec(error.message);
    const [level, line] = await logger.said(new RegExp(error_id));
    assert.equal(level, 'error');
    assert.match(line, /capability secret, dispatch d-.*hunter2.*serving\.test/s);
    assert.match((await gateway.dispatch('meant')).error.message, /for the caller/);
});

test('the log has the stack of a failed handler, its capability and its dispatch', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const logger = keeping_logger();
    await connected(
        t,
        gateway,
        {
            breaks: async () => {
                throw new Error('broken');
            },
        },
        { logger },
    );
    const { dispatch_id } = await gateway.dispatch('breaks');
    const [level, line] = await logger.said(/broken/);
    assert.equal(level, 'error');
    assert.match(
        line,
        new RegExp(`capability breaks, dispatch ${dispatch_id} failed\nError: broken\n +at .*serving\\.test`),
    );
});

test('the context says who asks, within which trace, and how long the mesh waits', async (t) => {
    const gateway = await Gateway.start({ test: t });
    let context;
    await connected(t, gateway, { look: (_, given) => void (context = given) });
    const { dispatch_id } = await gateway.dispatch('look');
    assert.equal(context.dispatch_id, dispatch_id);
    assert.equal(context.skill_id, 'look');
    assert.equal(context.capability, 'look');
    assert.ok(
        context.deadline_ms > 0 && context.time_left_ms > 0 && context.time_left_ms <= context.deadline_ms,
    );
    assert.deepEqual({ ...context.baggage }, {});
    assert.equal(typeof context.propagation_headers, 'object');
    assert.equal(context.signal.aborted, false);
    assert.equal(context.signal, context.signal);
});

test('a signal is aborted when the deadline has passed, and an answer after that harms nobody', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const late = deferred();
    const reasons = [];
    const handlers = {
        listens: (_, { signal }) =>
            new Promise((resolve) =>
                signal.addEventListener('abort', () => {
                    reasons.push(signal.reason);
                    resolve('too late');
                    late.resolve();
                }),
            ),
    };
    await connected(t, gateway, handlers, { dispatch_timeout_ms: 100 });
    await gateway.dispatch('listens');
    await late.promise;
    assert.equal(reasons[0].code, 'DISPATCH_CANCELLED');
    assert.match(reasons[0].message, /deadline/);
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 });
});

test('a signal that is asked for after the cancellation is aborted', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const [asked, let_look] = [deferred(), deferred()];
    const handlers = {
        looks_late: async (_, context) => {
            await let_look.promise;
            asked.resolve(context.signal.aborted);
        },
    };
    const mesh = await connected(t, gateway, handlers, { dispatch_timeout_ms: 50 });
    mesh.once('dispatch_cancelled', let_look.resolve);
    await gateway.dispatch('looks_late');
    assert.equal(await asked.promise, true);
});

test('a disconnect does not wait for ever for a handler, and aborts its signal', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const [started, aborted] = [deferred(), deferred()];
    const never = (_, { signal }) => {
        signal.addEventListener('abort', aborted.resolve);
        started.resolve();
        return new Promise(() => {});
    };
    const mesh = await connected(t, gateway, { never });
    const [id] = await gateway.dispatch_many('never', {}, { count: 1 });
    await started.promise;
    await mesh.disconnect({ timeout_ms: 20 });
    await aborted.promise;
    assert.equal(mesh.state, 'closed');
    const [answer] = await gateway.answers([id]);
    assert.equal(answer.error.code, 'AGENT_SHUTDOWN');
});

test('a disconnect inside a handler lets that handler finish', async (t) => {
    const gateway = await Gateway.start({ test: t });
    let leaving;
    const mesh = await connected(t, gateway, {
        leaves: () => {
            leaving = mesh.disconnect();
            return 'left';
        },
    });
    assert.equal((await gateway.dispatch('leaves')).result, 'left');
    await leaving;
    assert.equal(mesh.state, 'closed');
});

test('slow handlers leave the loop its turns', async (t) => {
    const gateway = await Gateway.start({ test: t });
    let [turns, blocked] = [0, 0];
    const timer = setInterval(() => (turns += 1), 1);
    t.after(() => clearInterval(timer));
    const blocks = () => {
        const until = performance.now() + 5;
        while (performance.now() < until);
        return [(blocked += 1), turns];
    };
    await connected(t, gateway, { blocks });
    const answers = await gateway.answers(await gateway.dispatch_many('blocks', {}, { count: 64 }));
    assert.equal(answers.length, 64);
    const seen = new Set(answers.map(({ result: [, turn] }) => turn));
    // With the whole of a batch in one turn they would all have seen the same count.
    assert.ok(seen.size > 8, `${seen.size} turns`);
});

test('thousands of dispatches are each answered once and right', async (t) => {
    const gateway = await Gateway.start({ test: t });
    await connected(
        t,
        gateway,
        {
            mixes: ({ n }) => {
                if (n % 5 === 0) throw new CapabilityError(`no ${n}`);
                if (n % 5 === 1) return n;
                if (n % 5 === 2) return Promise.resolve(n);
                if (n % 5 === 3) return new Promise((resolve) => setImmediate(resolve, n));
                return Promise.reject(new CapabilityError(`no ${n}`));
            },
        },
        { max_pending_dispatches: 5000 },
    );
    const steps = Array.from({ length: 2000 }, (_, n) => ({
        at: 0,
        do: { dispatch: { skill_id: 'mixes', args: { n }, id: `m-${n}` } },
    }));
    await gateway.set_script(...steps);
    const answers = await gateway.answers(steps.map((step) => step.do.dispatch.id));
    for (const [n, answer] of answers.entries()) {
        if (n % 5 === 0 || n % 5 === 4) assert.match(answer.error.message, new RegExp(`no ${n}$`));
        else assert.equal(answer.result, n);
    }
    await wait_for(
        async () => (await gateway.ledger()).every((entry) => entry.answers.length === 1),
        'one answer each',
    );
    assert.deepEqual(await gateway.violations(), []);
});
