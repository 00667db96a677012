// Every example of `examples/node`: a program in a folder like a reader's, against a gateway, doing what its
// comments say.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Program, folder_with_package } from './support/child.mjs';
import { environment_of } from './support/environment.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';
import { SECRET, call, result_of } from './support/hosted.mjs';

const examples = fileURLToPath(new URL('../../../examples/node/', import.meta.url));
const development = path.dirname(createRequire(import.meta.url).resolve('typescript/package.json'));
const modules = path.dirname(development);

/** A folder with the example in it, and what its reader would install. */
function reader_folder(t, file) {
    const folder = folder_with_package(t);
    symlinkSync(path.join(modules, 'express'), path.join(folder, 'node_modules', 'express'), 'dir');
    for (const name of [file, 'package.json', 'tsconfig.json']) {
        writeFileSync(path.join(folder, name), readFileSync(path.join(examples, name)));
    }
    return folder;
}

/** Runs an example as its reader does. */
function run_example(t, file, { gateway, env = {}, args = [], folder = reader_folder(t, file) } = {}) {
    const environment = environment_of({ ...gateway?.environment(), ...env });
    const program = new Program([process.execPath, path.join(folder, file), ...args], environment, folder);
    t.after(() => program.kill());
    return program;
}

async function assert_ends_well(program, gateway) {
    assert.equal(await program.wait(), 0, program.story());
    await gateway.wait_empty();
    assert.deepEqual(await gateway.violations(), []);
}

/** One HTTP request: the status and the JSON of the reply. */
async function ask(url, method, target, body, token) {
    const headers = { 'Content-Type': 'application/json' };
    if (token) headers.Authorization = `Bearer ${token}`;
    const options = { method, headers, agent: false, signal: AbortSignal.timeout(60_000) };
    const [status, text] = await new Promise((resolve, reject) => {
        const request = http.request(new URL(target, url), options, (response) => {
            let received = '';
            response.setEncoding('utf8').on('data', (chunk) => (received += chunk)).on('error', reject);
            response.on('end', () => resolve([response.statusCode, received]));
        });
        request.on('error', reject).end(body === undefined ? undefined : JSON.stringify(body));
    });
    return [status, text ? JSON.parse(text) : undefined];
}

for (const signal of ['SIGINT', 'SIGTERM']) {
    test(`the twenty lines answer calls and say goodbye after ${signal}`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const program = run_example(t, 'agent.mjs', { gateway });
        await gateway.wait_ready();
        const found = await gateway.dispatch('find_order', { order_id: 'A17' });
        assert.deepEqual(found.result, { order_id: 'A17', state: 'shipped' });
        const { error } = await gateway.dispatch('find_order', { order_id: 'Z99' });
        assert.equal(error.code, 'HANDLER_ERROR');
        assert.equal(error.message, 'capability "find_order" failed: no such order');
        assert.equal((await gateway.dispatch('find_order', { order_id: 17 })).error.code, 'INVALID_ARGS');
        assert.equal((await gateway.dispatch('find_order', {})).error.code, 'INVALID_ARGS');
        program.signal(signal);
        await assert_ends_well(program, gateway);
        assert.equal((await gateway.agent()).deregistrations, 1);
        assert.ok(!(program.stdout + program.stderr).includes(gateway.client_secret));
    });
}

test('the twenty lines are told the mesh as they are written', async (t) => {
    const gateway = await Gateway.start({ test: t });
    run_example(t, 'agent.mjs', { gateway });
    const { agent_card } = await gateway.wait_ready();
    assert.deepEqual([agent_card.name, agent_card.description], ['order-desk', 'Knows every order']);
    assert.equal(agent_card.skills.length, 1);
    const [skill] = agent_card.skills;
    assert.deepEqual([skill.id, skill.description], ['find_order', 'Says where an order is.']);
    assert.deepEqual(skill.parameters.properties.order_id, { type: 'string' });
    assert.deepEqual(skill.parameters.required, ['order_id']);
});

test('the twenty lines are not more than twenty', () => {
    const lines = readFileSync(path.join(examples, 'agent.mjs'), 'utf8').split('\n');
    const code = lines.filter((line) => line.trim() !== '' && !line.startsWith('//'));
    assert.ok(code.length <= 20, `${code.length} lines`);
});

/** The folder with the TypeScript example compiled in it, by the command that its first lines name. */
async function compiled(t) {
    const folder = reader_folder(t, 'agent.ts');
    // A reader has installed @types/node; the compiler finds it where it looks first.
    symlinkSync(path.join(modules, '@types'), path.join(folder, 'node_modules', '@types'), 'dir');
    const tsc = path.join(development, 'bin', 'tsc');
    const done = promisify(execFile)(process.execPath, [tsc, '-p', '.'], { cwd: folder });
    await done.catch((error) => assert.fail(error.stdout));
    return folder;
}

test('the TypeScript agent serves typed calls, keeps a session and tells its events', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_example(t, 'dist/agent.js', { gateway, folder: await compiled(t) });
    const session_id = await program.wait_line('session ');
    const [session] = await gateway.sessions();
    assert.deepEqual([session.session_id, session.status], [session_id, 'active']);

    const wish = { city: 'Rome', mood: 'lively', guests: 4 };
    const evening = await gateway.dispatch('plan_evening', wish, { session_context: { session_id } });
    assert.deepEqual(evening.result, { table: 'Da Enzo', show: 'a brass band', guests: 4 });
    assert.equal(await program.wait_line('planned Rome for session '), session_id);
    const quiet = await gateway.dispatch('plan_evening', { city: 'Rome' });
    assert.equal(quiet.result.show, 'chamber music');
    const loud = await gateway.dispatch('plan_evening', { city: 'Rome', mood: 'loud' });
    assert.equal(loud.error.code, 'INVALID_ARGS');
    const full = await gateway.dispatch('plan_evening', { city: 'Atlantis' });
    assert.equal(full.error.code, 'NO_TABLE');
    assert.match(full.error.message, /no table for 2 in Atlantis$/);

    program.signal('SIGTERM');
    await assert_ends_well(program, gateway);
    assert.deepEqual((await gateway.sessions()).map(({ status }) => status), ['completed']);
    const told = program.lines.filter((line) => line.startsWith('event ')).map((line) => line.split(' ')[1]);
    for (const name of ['registered', 'connected', 'disconnected']) {
        assert.ok(told.includes(name), String(told));
    }
});

test('the TypeScript agent ends with the reason when the mesh refuses it for good', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_example(t, 'dist/agent.js', { gateway, folder: await compiled(t) });
    await program.wait_line('session ');
    const { instance_id } = await gateway.wait_ready();
    await gateway.set_faults({ refuse: [{ endpoint: 'connect', status: 403, code: 'TENANT_MISMATCH' }] });
    await gateway.abort(instance_id);
    assert.equal(await program.wait(), 1, program.story());
    assert.match(program.stderr, /TENANT_MISMATCH/);
});

/** A JWT as an identity provider would issue it for a user. */
async function user_token({ url, client_id, client_secret }, seconds) {
    const wanted = { client_id, client_secret, agent_type: 'assistant', expires_in: seconds };
    const [, reply] = await ask(url, 'POST', '/auth/get_token', wanted);
    return reply.token;
}

/** Waits until the mesh no longer takes this token. */
function wait_refused(gateway, instance_id, token) {
    const refused = async () => {
        const body = { instance_id, status: 'available' };
        return (await ask(gateway.url, 'POST', '/agents/heartbeat', body, token))[0] === 401;
    };
    return wait_for(refused, 'the end of the first token');
}

/** The example with this token in its file, connected; the file and the instance's id. */
async function forward(t, gateway, way, token) {
    const folder = reader_folder(t, 'forward_token.mjs');
    const file = path.join(folder, 'jwt');
    writeFileSync(file, token);
    const options = { folder, env: { SVANTIC_URL: gateway.url }, args: [way, file] };
    const program = run_example(t, 'forward_token.mjs', options);
    return { program, file, instance_id: (await gateway.wait_ready()).instance_id };
}

test('a handed-over token is rotated on the open connection', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const [first, second] = [await user_token(gateway, 10), await user_token(gateway, 3600)];
    const { program, file, instance_id } = await forward(t, gateway, 'hand-over', first);
    writeFileSync(file, `${second}\n`);
    const context = { session_context: { tenant_id: 't-7' } };
    const answer = await gateway.dispatch('draft_reply', { subject: 'tea' }, context);
    assert.deepEqual(answer.result, { tenant_id: 't-7', draft: 'Thank you for writing about tea.' });

    await program.wait_line('token 2 is in use');
    assert.equal((await gateway.agent()).connections, 1, 'the rotation must not need a new connection');
    // The next dial shows the new token: the first one is of no use by then.
    await wait_refused(gateway, instance_id, first);
    await gateway.abort(instance_id);
    await gateway.wait_ready(instance_id, { welcomes: 2 });
    const again = await gateway.dispatch('draft_reply', { subject: 'ink' });
    assert.match(again.result.draft, /ink\.$/);
    program.signal('SIGTERM');
    await assert_ends_well(program, gateway);
    for (const token of [first, second]) assert.ok(!(program.stdout + program.stderr).includes(token));
});

for (const way of ['hand-over', 'on-demand']) {
    test(`a refused token is replaced by the one that is there by then, ${way}`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const first = await user_token(gateway, 3600);
        const { program, file, instance_id } = await forward(t, gateway, way, first);
        await gateway.set_script({ at: 0, do: 'expire_token' });
        await wait_refused(gateway, instance_id, first);
        writeFileSync(file, await user_token(gateway, 3600));
        await gateway.abort(instance_id);
        await gateway.wait_ready(instance_id, { welcomes: 2 });
        const answer = await gateway.dispatch('draft_reply', { subject: 'ink' });
        assert.match(answer.result.draft, /ink\.$/);
        program.signal('SIGTERM');
        await assert_ends_well(program, gateway);
        const asked = (await gateway.requests()).filter((request) => request.path === '/auth/get_token');
        assert.equal(asked.length, 2, 'only this test asks for tokens; the agent has no credentials');
    });
}

test('the token example without arguments says how it is used', async (t) => {
    const program = run_example(t, 'forward_token.mjs');
    assert.equal(await program.wait(), 2);
    assert.match(program.stderr, /forward_token\.mjs hand-over FILE/);
});

test('two agents in an Express process share its data and its farewell', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_example(t, 'express_app.mjs', { gateway, env: { PORT: '0' } });
    const url = `http://127.0.0.1:${await program.wait_line('listening on ')}`;
    // It listens once both agents are there.
    const ready = { 'order-desk': 'ready', 'stock-desk': 'ready' };
    assert.deepEqual(await ask(url, 'GET', '/ready'), [200, ready]);
    const agents = Object.fromEntries((await gateway.agents()).map((agent) => [agent.agent_type, agent]));
    assert.deepEqual(Object.keys(agents).sort(), ['order-desk', 'stock-desk']);
    const at_desk = { instance_id: agents['order-desk'].instance_id };
    const at_shelf = { instance_id: agents['stock-desk'].instance_id };

    const unknown = await gateway.dispatch('find_order', { order_id: 'B2' }, at_desk);
    assert.equal(unknown.error.code, 'NOT_FOUND');
    assert.equal((await ask(url, 'PUT', '/orders/B2', { state: 'packed' }))[0], 200);
    const found = await gateway.dispatch('find_order', { order_id: 'B2' }, at_desk);
    assert.deepEqual(found.result, { order_id: 'B2', state: 'packed' });
    assert.equal((await gateway.dispatch('count_items', { item: 'cup' }, at_shelf)).result, 3);
    const misled = await gateway.dispatch('find_order', { order_id: 'B2' }, at_shelf);
    assert.equal(misled.error.code, 'UNKNOWN_SKILL');

    const [status, { session_id }] = await ask(url, 'POST', '/sessions', { user_id: 'u1' });
    assert.equal(status, 201);
    const [session] = await gateway.sessions();
    assert.deepEqual([session.session_id, session.instance_id], [session_id, at_desk.instance_id]);
    assert.deepEqual(await ask(url, 'DELETE', `/sessions/${session_id}`), [204, undefined]);
    assert.equal((await ask(url, 'DELETE', '/sessions/never-there'))[0], 404);

    await gateway.set_faults({ refuse: [{ endpoint: 'session_init', status: 403, code: 'FORBIDDEN' }] });
    const [refused, why] = await ask(url, 'POST', '/sessions', { user_id: 'u2' });
    assert.deepEqual([refused, why.code], [502, 'FORBIDDEN']);

    program.signal('SIGTERM');
    await assert_ends_well(program, gateway);
});

test('an Express process whose mesh is gone says so, and why, and can be ended', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const env = { PORT: '0' };
    const program = run_example(t, 'express_app.mjs', { gateway, env });
    const url = `http://127.0.0.1:${await program.wait_line('listening on ')}`;
    await gateway.kill();
    const unready = async () => {
        const [status, told] = await ask(url, 'GET', '/ready');
        return status === 503 && told;
    };
    const told = await wait_for(unready, 'a check that says no');
    assert.match(told['order-desk'], /\w+ \w+ \w+/, 'a sentence');
    const [status] = await ask(url, 'POST', '/sessions', { user_id: 'u1' });
    assert.equal(status, 503, 'an outage, which passes');
    program.signal('SIGTERM');
    assert.equal(await program.wait(), 0, 'nobody is there to hear the goodbye, which holds nothing up');
});

for (const bound of [undefined, '127.0.0.1:0']) {
    test(`the hosted desk serves the mesh's calls by itself${bound ? ', on any port' : ''}`, async (t) => {
        const gateway = await Gateway.start({ test: t, args: ['--dispatch-secret', SECRET] });
        const env = { SVANTIC_DISPATCH_SECRET: SECRET, LISTEN: bound ?? `127.0.0.1:${await free_port()}` };
        if (bound === undefined) env.PUBLIC_URL = `http://${env.LISTEN}`;
        const program = run_example(t, 'hosted.mjs', { gateway, env });
        const address = await program.wait_line('listening on ');
        if (bound === undefined) assert.equal(address, env.LISTEN);
        const [status, card] = await ask(`http://${address}`, 'GET', '/.well-known/agent-card.json');
        assert.deepEqual([status, card.name, card.url], [200, 'order-desk', `http://${address}/send`]);
        const found = await gateway.dispatch('find_order', { order_id: 'A17' });
        assert.deepEqual(found.result, { order_id: 'A17', state: 'shipped' });
        assert.equal((await gateway.dispatch('find_order', { order_id: 'B2' })).error.code, 'HANDLER_ERROR');
        const forged = await gateway.dispatch('find_order', { order_id: 'A17' }, { forge: 'bad_signature' });
        assert.equal(forged.error.code, 'HTTP_401');
        program.signal('SIGTERM');
        await assert_ends_well(program, gateway);
        assert.ok(!(program.stdout + program.stderr).includes(SECRET));
    });
}

test('the hosted desk is not more than twenty lines either', () => {
    const lines = readFileSync(path.join(examples, 'hosted.mjs'), 'utf8').split('\n');
    const code = lines.filter((line) => line.trim() !== '' && !line.startsWith('//'));
    assert.ok(code.length <= 20, `${code.length} lines`);
});

test('two hosted agents in an Express app are called under their own paths', async (t) => {
    const gateway = await Gateway.start({ test: t, args: ['--dispatch-secret', SECRET] });
    const env = { PORT: '0', SVANTIC_DISPATCH_SECRET: SECRET };
    const program = run_example(t, 'express_hosted.mjs', { gateway, env });
    const url = `http://127.0.0.1:${await program.wait_line('listening on ')}`;
    const agents = Object.fromEntries((await gateway.agents()).map((agent) => [agent.agent_type, agent]));
    const at_desk = { instance_id: agents['order-desk'].instance_id };
    const at_shelf = { instance_id: agents['stock-desk'].instance_id };
    assert.equal((await gateway.dispatch('find_order', { order_id: 'B2' }, at_desk)).error.code, 'NOT_FOUND');
    assert.equal((await ask(url, 'PUT', '/orders/B2', { state: 'packed' }))[0], 200);
    const found = await gateway.dispatch('find_order', { order_id: 'B2' }, at_desk);
    assert.deepEqual(found.result, { order_id: 'B2', state: 'packed' });
    assert.equal((await gateway.dispatch('count_items', { item: 'cup' }, at_shelf)).result, 3);
    const misled = await gateway.dispatch('find_order', { order_id: 'B2' }, at_shelf);
    assert.equal(misled.error.code, 'UNKNOWN_SKILL');
    program.signal('SIGTERM');
    await assert_ends_well(program, gateway);
});

test('the hosted Express app needs no mesh for a try', async (t) => {
    const program = run_example(t, 'express_hosted.mjs', { env: { PORT: '0', LOCAL: '1' } });
    const url = `http://127.0.0.1:${await program.wait_line('listening on ')}`;
    const [status, reply] = await ask(url, 'POST', '/stock-desk/send', call('count_items', { item: 'cup' }));
    assert.deepEqual([status, result_of({ json: reply })], [200, { result: 3 }]);
    program.signal('SIGTERM');
    assert.equal(await program.wait(), 0, program.story());
});

/** A port that nobody has at the moment. */
async function free_port() {
    const server = http.createServer();
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    return port;
}

test('every example says what it is and is run here', () => {
    const here = readFileSync(fileURLToPath(import.meta.url), 'utf8');
    const programs = readdirSync(examples).filter((name) => /\.m?[jt]s$/.test(name));
    assert.ok(programs.length >= 4);
    for (const name of programs) {
        assert.ok(here.includes(name.replace(/\.ts$/, '.')), `${name} has no test`);
        const text = readFileSync(path.join(examples, name), 'utf8');
        assert.match(text, /^\/\/ [A-Z].*[.:]\n/, `${name} says nothing`);
    }
});
