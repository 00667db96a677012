// child_process.fork() and cluster: children are programs of their own, and have their own agents.
import assert from 'node:assert/strict';
import test from 'node:test';
import { run_node } from './support/child.mjs';
import { Gateway } from './support/gateway.mjs';

const SERVING = `
import { Agent } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

export async function serve(instance_id) {
    const agent = new Agent({ name: 'forked', description: 'One of several processes', instance_id });
    agent.define_capability({ name: 'who', description: 'Says who it is', handler: () => process.pid });
    const mesh = new MeshConnector(agent);
    agent.define_capability({ name: 'end', description: 'Ends it', handler: () => {
        mesh.close();
        if (process.connected) process.disconnect();
    } });
    await mesh.connect();
    return mesh;
}
`;

const PROGRAMS = {
    fork: `
        import { fork } from 'node:child_process';
        import { serve } from './serving.mjs';
        if (process.send) {
            await serve(process.argv[2]);
        } else {
            await serve('parent');
            for (const name of ['one', 'two']) {
                fork(new URL(import.meta.url), [name]).on('exit', (code) => console.log('ENDED', name, code));
            }
            console.log('PARENT', process.pid);
        }`,
    cluster: `
        import cluster from 'node:cluster';
        import { serve } from './serving.mjs';
        if (cluster.isPrimary) {
            await serve('parent');
            for (const name of ['one', 'two']) {
                const worker = cluster.fork({ SVANTIC_TEST_NAME: name });
                worker.on('exit', (code) => console.log('ENDED', name, code));
            }
            console.log('PARENT', process.pid);
        } else {
            await serve(process.env.SVANTIC_TEST_NAME);
        }`,
};

for (const [how, text] of Object.entries(PROGRAMS)) {
    test(`children of ${how} serve beside their parent and end without it`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const program = run_node(t, text, { gateway, files: { 'serving.mjs': SERVING } });
        await program.wait_line('PARENT');
        const names = ['parent', 'one', 'two'];
        const pids = new Set();
        for (const instance_id of names) {
            await gateway.wait_ready(instance_id);
            const answer = await gateway.dispatch('who', {}, { instance_id });
            pids.add(answer.result);
        }
        assert.equal(pids.size, 3);
        assert.ok(pids.has(program.pid));
        for (const instance_id of ['one', 'two']) {
            await gateway.dispatch('end', {}, { instance_id });
            await gateway.wait_gone(instance_id);
            assert.equal(await program.wait_line(`ENDED ${instance_id}`), '0');
        }
        assert.equal((await gateway.dispatch('who', {}, { instance_id: 'parent' })).result, program.pid);
        await gateway.dispatch('end', {}, { instance_id: 'parent' });
        assert.equal(await program.wait(), 0, program.story());
        await gateway.wait_empty();
    });
}

test('a forked child that is killed costs its parent nothing', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, PROGRAMS.fork, { gateway, files: { 'serving.mjs': SERVING } });
    await program.wait_line('PARENT');
    for (const instance_id of ['parent', 'one', 'two']) await gateway.wait_ready(instance_id);
    const { result } = await gateway.dispatch('who', {}, { instance_id: 'one' });
    process.kill(result, 'SIGKILL');
    await program.wait_line('ENDED one');
    for (const instance_id of ['parent', 'two']) {
        assert.ok((await gateway.dispatch('who', {}, { instance_id })).result, instance_id);
        await gateway.dispatch('end', {}, { instance_id });
    }
    assert.equal(await program.wait(), 0, program.story());
    assert.equal((await gateway.agent('parent')).connections, 1);
});
