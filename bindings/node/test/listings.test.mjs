// The code of the pages runs as it stands there, and does what the text around it says.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Agent } from 'svantic';
import { MeshConnector } from 'svantic/mesh';
import { folder_with_package, run_node } from './support/child.mjs';
import { Gateway } from './support/gateway.mjs';

const here = fileURLToPath(new URL('..', import.meta.url));
const repository = path.resolve(here, '../..');
const read = (...name) => readFileSync(path.join(...name), 'utf8');
const typescript = path.dirname(createRequire(import.meta.url).resolve('typescript/package.json'));

function listings(page, language) {
    return [...page.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(([, text]) => text);
}

/** The listing of the page with this word in it. */
function listing(word, language = 'js', page = 'README.md') {
    const found = listings(read(here, page), language).filter((text) => text.includes(word));
    assert.equal(found.length, 1, word);
    return found[0];
}

/** A program around a listing that takes an agent for granted. */
function around(text, { before = '', after = '' } = {}) {
    return `
        import * as root from 'svantic';
        import * as parts from 'svantic/mesh';
        const agent = new root.Agent({ name: 'desk', description: 'A desk' });
        ${before}
        ${text}
        ${after}
    `;
}

test('both front pages show the example that is tested', () => {
    const example = read(repository, 'examples', 'node', 'agent.mjs');
    assert.equal(listings(read(here, 'README.md'), 'js')[0], example);
    assert.equal(listings(read(repository, 'README.md'), 'js')[0], example);
});

test('the handlers of the front page compile, and are a capability', async (t) => {
    const folder = folder_with_package(t);
    symlinkSync(path.join(typescript, '..', '@types'), path.join(folder, 'node_modules', '@types'), 'dir');
    writeFileSync(path.join(folder, 'package.json'), '{"type":"module"}');
    const after = 'console.log(JSON.stringify(agent.capabilities.get("plan_trip")));\n';
    writeFileSync(path.join(folder, 'page.ts'), listing('interface Trip', 'ts') + after);
    const flags = ['--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node'];
    const options = { cwd: folder, env: process.env };
    const tsc = path.join(typescript, 'bin', 'tsc');
    const compiling = promisify(execFile)(process.execPath, [tsc, ...flags, 'page.ts'], options);
    await compiling.catch((error) => assert.fail(error.stdout));
    const { stdout } = await promisify(execFile)(process.execPath, ['page.js'], options);
    const { description, tags, parameters } = JSON.parse(stdout);
    assert.deepEqual([description, tags, parameters.required], ['Plans a trip.', ['travel'], ['city']]);
});

test('the connector of the front page opens and closes a session', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const before = `
        const { SVANTIC_CLIENT_ID: client_id, SVANTIC_CLIENT_SECRET: client_secret } = process.env;
    `;
    const program = run_node(t, around(listing('create_session'), { before }), { gateway });
    assert.equal(await program.wait(), 0, program.story());
    assert.deepEqual((await gateway.sessions()).map(({ status }) => status), ['completed']);
    await gateway.wait_empty();
});

test('the refused secret of the front page is told', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const before = "const mesh = new parts.MeshConnector(agent, { client_secret: 'wrong'.repeat(8) });";
    const program = run_node(t, around(listing("=== 'AUTH'"), { before }), { gateway });
    assert.equal(await program.wait(), 1, program.story());
    assert.match(program.stderr, /the client secret has been replaced/);
    assert.doesNotMatch(program.stderr, /wrongwrong/);
});

test('the events of the front page are told until the connector ends', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const before = `
        const mesh = new parts.MeshConnector(agent);
        mesh.connect().then(() => mesh.close());
    `;
    const text = around(listing('for await'), { before, after: 'console.log("THE END");' });
    const program = run_node(t, text, { gateway });
    await program.wait_line('THE END');
    assert.equal(await program.wait(), 0, program.story());
    assert.ok(program.lines.some((line) => line.startsWith('registered ')), program.story());
    assert.match(program.stderr, /^down: /m);
});

test('the tests of the guide pass', async (t) => {
    const folder = folder_with_package(t);
    writeFileSync(path.join(folder, 'page.mjs'), listing('node:test', 'js', 'docs/guide.md'));
    // In the environment of a test runner it would report to that, not to us.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const flags = ['--test-reporter=tap', 'page.mjs'];
    const { stdout } = await promisify(execFile)(process.execPath, flags, { cwd: folder, env });
    assert.match(stdout, /^# pass 2$/m);
    assert.match(stdout, /^# fail 0$/m);
});

test('the messages of the guide are those that are thrown', async (t) => {
    const table = read(here, 'docs', 'guide.md');
    const gateway = await Gateway.start({ test: t });
    const agent = new Agent({ name: 'desk', description: 'A desk' });
    assert.throws(() => new MeshConnector(agent), (error) => {
        const [start] = error.message.split(' [');
        return table.includes(`SvanticError: ${start} … [${error.code}]`);
    });
    assert.throws(() => new MeshConnector(agent, { clientId: 'desk' }), (error) => {
        return error instanceof TypeError && table.includes(`\`TypeError: ${error.message}\``);
    });
    const config = gateway.config({ client_secret: 'wrong'.repeat(8), logger: false });
    const wrong = new MeshConnector(agent, config);
    await assert.rejects(wrong.connect(), (error) => table.includes(`\`${error.status}\`, at once`));
    await wrong.close();
});

test('every link of the pages leads somewhere', () => {
    for (const page of ['README.md', 'docs/guide.md', 'docs/reference.md', 'docs/migrating.md']) {
        const text = read(here, page);
        for (const [, target] of text.matchAll(/\]\(([^)]+)\)/g)) {
            if (/^https?:/.test(target)) continue;
            const [name, anchor] = target.split('#');
            const file = name === '' ? path.join(here, page) : path.resolve(here, path.dirname(page), name);
            assert.ok(existsSync(file), `${page}: ${target}`);
            const is_inside = !path.relative(here, file).startsWith('..');
            assert.ok(is_inside, `${page}: ${target} is not in the package`);
            if (anchor === undefined) continue;
            const headings = [...readFileSync(file, 'utf8').matchAll(/^#+ (.+)$/gm)];
            const plain = headings.map(([, heading]) => heading.toLowerCase().replace(/[^\w -]/g, ''));
            const anchors = plain.map((heading) => heading.replaceAll(' ', '-'));
            assert.ok(anchors.includes(anchor), `${page}: ${target}`);
        }
    }
});
