// What the package leaves open, starts and loads: nothing that a program did not ask for.
import assert from 'node:assert/strict';
import test from 'node:test';
import { run_node } from './support/child.mjs';
import { Gateway } from './support/gateway.mjs';

test('no handle, no request and no timer is left behind a close', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, `
        import { writeSync } from 'node:fs';
        import { Agent } from 'svantic';
        import { MeshConnector } from 'svantic/mesh';

        const say = (...words) => writeSync(1, words.join(' ') + '\\n');
        // Node makes these when a socket ends or a line is written; they are not ours.
        void process.stdout;
        void process.stderr;
        await new Promise(setImmediate);
        const open = () => [
            process._getActiveHandles().length, process._getActiveRequests().length,
            ...process.getActiveResourcesInfo().filter((name) => name !== 'TTYWrap'),
        ].join(' ');
        const agent = new Agent({ name: 'tidy', description: 'Leaves nothing behind' });
        agent.define_capability({ name: 'quick', description: 'Answers at once', handler: () => 1 });
        const before = open();
        const mesh = new MeshConnector(agent);
        say('CREATED', open() === before);
        await mesh.connect();
        const connected = process.getActiveResourcesInfo();
        say('TIMERS', connected.filter((name) => /Timeout|Immediate/.test(name)).length);
        await mesh.re_register({ timeout_ms: 5000, signal: new AbortController().signal });
        await mesh.close_session(await mesh.create_session());
        const later = process.getActiveResourcesInfo();
        say('STILL TIMERS', later.filter((name) => /Timeout/.test(name)).length);
        await mesh.close();
        // The handle of a socket that has been destroyed is closed in the turns after it.
        for (let turn = 0; turn < 100 && open() !== before; turn += 1) await new Promise(setImmediate);
        const after = open();
        say('CLOSED', after === before, before, '|', after);
        const listeners = [
            'exit', 'SIGTERM', 'SIGINT', 'uncaughtException', 'unhandledRejection', 'beforeExit',
        ];
        say('LISTENERS', listeners.map((name) => process.listenerCount(name)).join(' '));
    `, { gateway });
    assert.equal(await program.wait_line('CREATED'), 'true');
    assert.equal(await program.wait_line('TIMERS'), '0');
    assert.equal(await program.wait_line('STILL TIMERS'), '0');
    assert.match(await program.wait_line('CLOSED'), /^true /);
    const [, ...others] = (await program.wait_line('LISTENERS')).split(' ');
    assert.deepEqual(others, ['0', '0', '0', '0', '0']);
    assert.equal(await program.wait(), 0, program.story());
});

test('listeners on the process do not grow with the number of connectors', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, `
        import { Agent } from 'svantic';
        import { MeshConnector } from 'svantic/mesh';

        const count = () => {
            const names = process.eventNames();
            return names.map((name) => [String(name), process.listenerCount(name)]).join(' ');
        };
        const meshes = [];
        const connect = async (number) => {
            const instance_id = 'many-' + number;
            const agent = new Agent({ name: 'many', description: 'One of many', instance_id });
            const mesh = new MeshConnector(agent);
            await mesh.connect();
            meshes.push(mesh);
        };
        await connect(0);
        const one = count();
        for (let number = 1; number < 15; number += 1) await connect(number);
        console.log('SAME', count() === one, one, '|', count());
        await Promise.all(meshes.map((mesh) => mesh.close()));
    `, { gateway });
    assert.match(await program.wait_line('SAME'), /^true /);
    assert.equal(await program.wait(), 0, program.story());
    assert.equal(program.stderr, '', 'no MaxListenersExceededWarning');
});

test('importing the package starts no thread, opens nothing and loads no network module', async (t) => {
    const program = run_node(t, `
        import { readdirSync, readlinkSync } from 'node:fs';
        const threads = () => readdirSync('/proc/self/task').length;
        // Not files: Node may be reading one.
        const open = () => readdirSync('/proc/self/fd').filter((fd) => {
            try {
                return !readlinkSync('/proc/self/fd/' + fd).startsWith('/');
            } catch {
                return false;
            }
        }).length;
        const before = [threads(), open()];
        const modules = new Set(process.moduleLoadList);
        const began = performance.now();
        await import('svantic');
        await import('svantic/mesh');
        const took = performance.now() - began;
        const loaded = process.moduleLoadList.filter((name) => !modules.has(name));
        console.log('GROWTH', threads() - before[0], open() - before[1]);
        const heavy = /NativeModule (http|http2|https|tls|dgram|cluster)$/;
        console.log('LOADED', loaded.filter((name) => heavy.test(name)));
        console.log('TOOK', took.toFixed(1), 'ms');
    `);
    assert.equal(await program.wait_line('GROWTH'), '0 0');
    assert.equal(await program.wait_line('LOADED'), '[]');
    t.diagnostic(`import took ${await program.wait_line('TOOK')}`);
    assert.equal(await program.wait(), 0, program.story());
});
