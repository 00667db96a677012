// WsTransport over the library's own sockets: frames, states, sending and closing.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { rejection } from './support/agents.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';
import { HELLO, transport_to } from './support/transport.mjs';
import { SvanticError } from 'svantic/mesh';

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.stop());

const now = () => new Date().toISOString();
const answer = (frame, result) => ({
    v: 1,
    type: 'dispatch_result',
    id: `a-${frame.id}`,
    ts: now(),
    in_reply_to: frame.id,
    payload: { result },
});

test('connect resolves with the welcome, behind a hello of what was given', async (t) => {
    const { transport, instance_id } = await transport_to(t, gateway);
    const frames = [];
    transport.on_frame((frame) => frames.push(frame));
    assert.equal(transport.state, 'disconnected');
    const connecting = transport.connect();
    assert.equal(transport.state, 'connecting');
    assert.equal(await connecting, undefined);
    assert.equal(transport.state, 'ready');
    assert.deepEqual(
        frames.map(({ type, payload }) => [type, payload.resumed]),
        [['welcome', false]],
    );
    const [hello] = await gateway.frames(instance_id);
    assert.deepEqual([hello.content.type, hello.content.payload], ['hello', { instance_id, ...HELLO }]);
    assert.deepEqual(await gateway.violations(), []);
});

test('frames go both ways', async (t) => {
    const { transport, instance_id } = await transport_to(t, gateway);
    transport.on_frame((frame) => {
        if (frame.type === 'dispatch') transport.send(answer(frame, { echo: frame.payload.args }));
    });
    await transport.connect();
    const args = { order_id: 'A17', text: 'ä € 𝄞 "\\' };
    const { result } = await gateway.dispatch('find_order', args, { instance_id });
    assert.deepEqual(result, { echo: args });
});

test('frames reach every callback in their order', async (t) => {
    const { transport, instance_id } = await transport_to(t, gateway);
    const first = [];
    const second = [];
    transport.on_frame(({ id, type }) => type === 'dispatch' && first.push(id));
    await transport.connect();
    transport.on_frame(({ id, type }) => type === 'dispatch' && second.push(id));
    transport.on_frame((frame) => frame.type === 'dispatch' && transport.send(answer(frame, null)));
    const ids = await gateway.dispatch_many('count', {}, { count: 2000, instance_id });
    await gateway.answers(ids);
    assert.deepEqual([first, second], [ids, ids]);
});

test('a callback that throws or rejects is logged and stops no other', async (t) => {
    const lines = [];
    const { transport } = await transport_to(t, gateway, { logger: { error: (line) => lines.push(line) } });
    const seen = [];
    transport.on_frame(() => {
        throw new Error('the first');
    });
    transport.on_frame(async () => {
        throw new Error('the second');
    });
    transport.on_frame(({ type }) => seen.push(type));
    await transport.connect();
    await wait_for(() => lines.length === 2, 'two lines');
    assert.deepEqual(seen, ['welcome']);
    assert.match(lines.join('\n'), /callback of on_frame[^]*the first[^]*the second/);
});

test('a callback can be taken off inside a callback', async (t) => {
    const { transport, instance_id } = await transport_to(t, gateway);
    const seen = [];
    const off = transport.on_frame(({ type }) => {
        seen.push(`one ${type}`);
        off();
        off();
        off_two();
        transport.on_frame((frame) => seen.push(`three ${frame.type}`));
    });
    const off_two = transport.on_frame(({ type }) => seen.push(`two ${type}`));
    await transport.connect();
    const pending = gateway.dispatch('x', {}, { instance_id });
    transport.on_frame((frame) => transport.send(answer(frame, 1)));
    await pending;
    assert.deepEqual(seen, ['one welcome', 'three dispatch']);
});

test('one function that is given twice is called twice, and taken off once', async (t) => {
    const { transport } = await transport_to(t, gateway);
    let calls = 0;
    const callback = () => (calls += 1);
    const off = [transport.on_frame(callback), transport.on_frame(callback), transport.on_frame(callback)];
    off[1]();
    await transport.connect();
    assert.equal(calls, 2);
});

test('a second connect waits for the same end, and a third has nothing to do', async (t) => {
    const { transport, instance_id } = await transport_to(t, gateway);
    const connecting = transport.connect();
    assert.equal(transport.connect(), connecting);
    await connecting;
    await transport.connect();
    assert.equal((await gateway.agent(instance_id)).welcomes, 1);
});

test('states are told', async (t) => {
    const { transport } = await transport_to(t, gateway);
    const states = [];
    transport.on('state', (state) => states.push(state));
    await transport.connect();
    await transport.close();
    assert.deepEqual(states, ['connecting', 'authenticating', 'ready', 'closing', 'closed']);
});

test('a listener that throws stops neither the frames nor the next listener', async (t) => {
    const lines = [];
    const { transport } = await transport_to(t, gateway, { logger: { error: (line) => lines.push(line) } });
    const seen = [];
    transport.on('state', () => {
        throw new Error('mine');
    });
    transport.on('state', (state) => seen.push(state));
    await transport.connect();
    assert.equal(seen.at(-1), 'ready');
    assert.match(lines[0], /mine/);
});

test('before the welcome nothing can be sent', async (t) => {
    const { transport } = await transport_to(t, gateway);
    const error = await rejection((async () => transport.send(answer({ id: 'x' }, 1)))());
    assert.deepEqual([error instanceof SvanticError, error.status], [true, 'INVALID_STATE']);
});

for (const [what, frame] of [
    ['a text', '{}'],
    ['null', null],
    ['undefined', undefined],
    ['a number', 7],
    ['a function', () => {}],
    ['an object that is no JSON', { toJSON: () => undefined }],
    ['a BigInt within', { x: 1n }],
]) {
    test(`${what} is no frame, and harms nothing`, async (t) => {
        const { transport } = await transport_to(t, gateway);
        await transport.connect();
        assert.throws(() => transport.send(frame), TypeError);
        assert.equal(transport.state, 'ready');
    });
}

test('an array is no frame', async (t) => {
    const { transport } = await transport_to(t, gateway);
    await transport.connect();
    assert.throws(() => transport.send([]), { status: 'INVALID_JSON' });
});

test('close says its code and reason', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const { transport, instance_id } = await transport_to(t, gateway);
    await transport.connect();
    await transport.close(4001, 'änd');
    assert.equal(transport.state, 'closed');
    const sent = await wait_for(async () => {
        const frames = await gateway.frames(instance_id);
        return frames.find(({ direction, frame }) => direction === 'from_agent' && frame === 'close');
    }, 'the close frame');
    assert.equal(sent.content, '4001 änd');
    assert.equal((await gateway.agent(instance_id)).registered, true, 'a transport deregisters nothing');
});

test('closing is final, and closing twice is no error', async (t) => {
    const { transport } = await transport_to(t, gateway);
    await transport.connect();
    const closing = transport.close();
    assert.equal(transport.close(), closing);
    await closing;
    await transport.close();
    assert.equal((await rejection(transport.connect())).status, 'INVALID_STATE');
    assert.throws(() => transport.send({}), { status: 'INVALID_STATE' });
});

test('one that was never connected closes', async (t) => {
    const { transport } = await transport_to(t, gateway);
    await transport.close();
    assert.equal(transport.state, 'closed');
    assert.equal((await rejection(transport.connect())).status, 'INVALID_STATE');
});

test('a code or a reason that cannot be is refused, and nothing is closed', async (t) => {
    const { transport } = await transport_to(t, gateway);
    await transport.connect();
    for (const how of [[1006], [70_000], [1000, 'x'.repeat(124)]]) {
        assert.equal((await rejection(transport.close(...how))).status, 'INVALID_ARGUMENT', how.join());
    }
    assert.equal(transport.state, 'ready');
});

test('close during connect rejects the connect', async (t) => {
    const gateway = await Gateway.start({ test: t, faults: { stall: 'welcome' } });
    const { transport } = await transport_to(t, gateway);
    const connecting = rejection(transport.connect());
    await wait_for(() => transport.state === 'authenticating', 'the open socket');
    await transport.close();
    assert.equal((await connecting).status, 'CANCELLED');
});

test('await using closes it', async (t) => {
    const { transport } = await transport_to(t, gateway);
    await transport.connect();
    await transport[Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]();
    assert.equal(transport.state, 'closed');
});
