// What a handler's context says when the handler has answered and its work goes on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import vm from 'node:vm';
import { connected, deferred } from './support/agents.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';

setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc');

test('a signal stays aborted for what goes on behind the handler', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const cancelled = deferred();
    const handlers = {
        gives_up: (_, context) =>
            new Promise((resolve) => {
                context.signal.addEventListener('abort', () => {
                    resolve('too late');
                    cancelled.resolve(context);
                });
            }),
    };
    await connected(t, gateway, handlers, { dispatch_timeout_ms: 50 });
    await gateway.dispatch('gives_up');
    const context = await cancelled.promise;
    // By the next answer the handler has settled.
    await gateway.dispatch('echo');
    assert.equal(context.signal.aborted, true);
});

test('signals that are asked for when their handlers have answered are not kept', async (t) => {
    const gateway = await Gateway.start({ test: t });
    let contexts = [];
    const keeps = (_, context) => void contexts.push(context);
    const keeps_later = async (_, context) => void contexts.push(context);
    await connected(t, gateway, { keeps, keeps_later });
    await gateway.dispatch('keeps');
    await gateway.dispatch('keeps_later');
    const signals = contexts.map(({ signal }) => new WeakRef(signal));
    assert.equal(signals.length, 2);
    contexts = [];
    await wait_for(() => (collect(), signals.every((signal) => signal.deref() === undefined)), 'their end');
});
