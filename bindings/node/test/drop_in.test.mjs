// A program written for the platform's SDK: its types fit, and it runs, with nothing changed but the import.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Program, folder_with_package } from './support/child.mjs';
import { environment_of } from './support/environment.mjs';
import { Gateway } from './support/gateway.mjs';

const node_binding = fileURLToPath(new URL('..', import.meta.url));
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

/** Compiles the program as its users do; the folder with `program.js`. */
function compiled(test, type, more) {
    const folder = folder_with_package(test);
    copyFileSync(new URL('./drop_in/program.ts', import.meta.url), path.join(folder, 'program.ts'));
    writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ type }));
    const compilerOptions = {
        target: 'es2022',
        module: 'nodenext',
        strict: true,
        noEmitOnError: true,
        skipLibCheck: false,
        types: ['node'],
        typeRoots: [path.join(node_binding, 'node_modules', '@types')],
        rootDir: '.',
        ...more,
    };
    writeFileSync(
        path.join(folder, 'tsconfig.json'),
        JSON.stringify({ compilerOptions, files: ['program.ts'] }),
    );
    const tsc = path.join(node_binding, 'node_modules', 'typescript', 'bin', 'tsc');
    try {
        execFileSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8', stdio: 'pipe' });
    } catch (error) {
        assert.fail(`the program does not fit the types:\n${error.stdout}${error.stderr}`);
    }
    return folder;
}

for (const [what, type, more] of [
    ['an ECMAScript module', 'module', {}],
    [
        'CommonJS, with the strictest options',
        'commonjs',
        {
            exactOptionalPropertyTypes: true,
            noImplicitOverride: true,
            noUnusedLocals: true,
            noUnusedParameters: true,
        },
    ],
]) {
    test(`a program for the platform's SDK compiles and runs as ${what}`, async (t) => {
        // Nobody serves the card of its hosted instance.
        const gateway = await Gateway.start({ test: t, args: ['--no-probe'] });
        const folder = compiled(t, type, more);
        const environment = environment_of(gateway.environment());
        const program = new Program([process.execPath, path.join(folder, 'program.js')], environment, folder);
        t.after(() => program.kill());

        const agent = await program.wait_line('agent ');
        const traceparent = `00-${TRACE}-${SPAN}-01`;
        const found = await gateway.dispatch(
            'find_order',
            { order_id: 'A17' },
            {
                instance_id: agent,
                session_context: { session_id: 's1', tenant_id: 't1', traceparent, baggage: 'tier=gold' },
            },
        );
        assert.deepEqual(found.result, {
            order_id: 'A17',
            state: 'shipped',
            seen: {
                session_id: 's1',
                tenant_id: 't1',
                traceparent,
                parent_trace_id: TRACE,
                parent_span_id: SPAN,
                baggage: { tier: 'gold' },
                propagation_headers: { traceparent, baggage: 'tier=gold' },
            },
        });
        const missing = await gateway.dispatch('find_order', { order_id: 'B1' }, { instance_id: agent });
        assert.deepEqual(missing.error, {
            code: 'HANDLER_ERROR',
            message: 'capability "find_order" failed: no such order',
        });
        assert.equal(
            (await gateway.dispatch('find_order', {}, { instance_id: agent })).error.code,
            'INVALID_ARGS',
        );
        const cancelled = await gateway.dispatch('cancel_order', { order_id: 'A17' }, { instance_id: agent });
        assert.deepEqual(cancelled.result, { cancelled: 'A17' });
        const { tools } = await gateway.agent(agent);
        assert.deepEqual(tools.map(({ name }) => name).sort(), ['cancel_order', 'find_order']);
        assert.deepEqual(
            (await gateway.sessions()).map(({ user_id, status }) => [user_id, status]),
            [['u1', 'completed']],
        );
        program.say();

        const hub = await program.wait_line('hub ');
        const served = await gateway.dispatch('anything', { a: 1 }, { instance_id: hub });
        assert.deepEqual(served.result, { skill_id: 'anything', args: { a: 1 } });
        const failed = await gateway.dispatch('fail', {}, { instance_id: hub });
        assert.deepEqual(failed.error, { code: 'HANDLER_ERROR', message: 'boom' });
        assert.deepEqual(await gateway.statuses(hub), ['available']);
        await gateway.abort(hub);
        await gateway.wait_ready(hub, { welcomes: 2 });
        assert.equal((await gateway.dispatch('again', {}, { instance_id: hub })).result.skill_id, 'again');
        program.say();

        await program.wait_line('hub-closed');
        const ends = (await gateway.frames(hub)).filter(({ frame }) => frame === 'close');
        assert.deepEqual(ends.map(({ direction, content }) => [direction, content])[0], [
            'from_agent',
            '1000 client_close',
        ]);
        program.say();
        await program.wait_line('done');
        assert.equal(await program.wait(), 0, program.story());
        assert.doesNotMatch(program.stderr, /warning|unhandled/i);
        // What the hub's own heartbeats lack is the hub's affair.
        const violations = (await gateway.violations()).filter(
            (text) => !text.startsWith(`${hub}: heartbeat`),
        );
        assert.deepEqual(violations, []);
    });
}
