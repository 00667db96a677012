// Connectors that nobody holds: idle ones are freed, those that are connected go on.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import vm from 'node:vm';
import { MeshConnector } from 'svantic/mesh';
import { agent_with, connected, rejection } from './support/agents.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';

setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc');
const descriptors = () => readdirSync('/proc/self/fd').length;
const CREDENTIALS = { svantic_url: 'http://127.0.0.1:1', client_id: 'c', client_secret: 's', logger: false };

test('connectors that were never connected are freed, also with handlers that hold them', async () => {
    const make = () => {
        const agent = agent_with({ holds: () => mesh.state });
        const mesh = new MeshConnector(agent, CREDENTIALS);
        return mesh.instance_id;
    };
    // Each has an id of its own; the first one's is given again when that has been freed.
    const first = make();
    assert.equal(make(), `${first}-2`);
    await wait_for(() => (collect(), make() === first), 'the id of a freed connector');
});

test('a connector whose connect failed gives its descriptor and its handle back', async () => {
    const attempt = async () => {
        const agent = agent_with({ holds: () => mesh.state });
        const mesh = new MeshConnector(agent, { ...CREDENTIALS, fail_fast: true });
        await rejection(mesh.connect());
        return mesh.instance_id;
    };
    const first = await attempt();
    await wait_for(async () => (collect(), (await attempt()) === first), 'the id of a freed connector');
    const before = descriptors();
    for (let times = 0; times < 20; times += 1) await attempt();
    await wait_for(() => (collect(), descriptors() <= before), 'descriptors that are given back');
});

test('a connected connector that nobody holds goes on, and can be ended through its handler', async (t) => {
    const gateway = await Gateway.start({ test: t });
    await (async () => {
        const agent = agent_with({ leave: (_, context) => void setImmediate(() => mesh.close(), context) });
        const mesh = new MeshConnector(agent, gateway.config());
        await mesh.connect();
    })();
    for (let times = 0; times < 5; times += 1) {
        collect();
        assert.deepEqual((await gateway.dispatch('echo', { times })).result, { times });
    }
    await gateway.dispatch('leave');
    await gateway.wait_gone();
});

test('a connector that has ended is collected although its agent lives', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const agent = agent_with();
    const gone = await (async () => {
        const mesh = new MeshConnector(agent, gateway.config());
        await mesh.connect();
        await mesh.close();
        return new WeakRef(mesh);
    })();
    await wait_for(() => (collect(), gone.deref() === undefined), 'the collection of the connector');
    agent.define_capability({ name: 'later', description: 'Comes later.', handler() {} });
});

test('an iteration whose signal was aborted before is collected although its connector lives', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = await connected(t, gateway);
    const begin = () => new WeakRef(mesh.events({ signal: AbortSignal.abort() }));
    const gone = begin();
    await wait_for(() => (collect(), gone.deref() === undefined), 'the collection of the iteration');
    assert.equal(mesh.connected, true);
});
