// Lines for people go to the logger, and no logger can do harm.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MeshConnector } from 'svantic/mesh';
import { agent_with, keeping_logger } from './support/agents.mjs';
import { run_node } from './support/child.mjs';
import { Gateway } from './support/gateway.mjs';

test('an outage is told to the logger although nobody listens to events', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const logger = keeping_logger();
    const mesh = new MeshConnector(agent_with(), gateway.config({ logger }));
    t.after(() => mesh.close());
    await mesh.connect();
    await gateway.abort(mesh.instance_id);
    const [level] = await logger.said(/^agent tried: .*attempt \d+ follows in/);
    assert.equal(level, 'warn');
    assert.ok(
        logger.lines.some(
            ([level, text]) => level === 'info' && /connection 1 to the mesh is open/.test(text),
        ),
    );
    for (const [, text] of logger.lines) assert.ok(!text.includes(gateway.client_secret));
});

for (const [what, broken] of Object.entries({
    throws: () => {
        throw new Error('disk full');
    },
    rejects: async () => {
        throw new Error('disk full');
    },
})) {
    test(`a logger that ${what} costs no answer and no event`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const logger = { debug: broken, info: broken, warn: broken, error: broken };
        const agent = agent_with({
            fails: () => {
                throw new Error('told');
            },
        });
        const mesh = new MeshConnector(agent, gateway.config({ logger }));
        t.after(() => mesh.close());
        const names = [];
        mesh.on('event', ({ name }) => names.push(name));
        await mesh.connect();
        for (let times = 0; times < 3; times += 1) {
            assert.match((await gateway.dispatch('fails')).error.message, /told/);
        }
        assert.ok(names.includes('connected'));
    });
}

test('a logger with some of the methods gets those lines, as a method of its own', async (t) => {
    const gateway = await Gateway.start({ test: t });
    class Lines {
        all = [];
        error(text) {
            this.all.push(text);
        }
    }
    const logger = new Lines();
    const mesh = new MeshConnector(
        agent_with({
            fails: () => {
                throw new Error('told');
            },
        }),
        gateway.config({ logger }),
    );
    t.after(() => mesh.close());
    await mesh.connect();
    await gateway.dispatch('fails');
    assert.equal(logger.all.length, 1);
});

const FAILING = `
    import { Agent } from 'svantic';
    const agent = new Agent({ name: 'desk', description: 'A desk' });
    const handler = () => { throw new Error('100%s wrong'); };
    agent.define_capability({ name: 'fails', description: 'Fails.', handler });
    const mesh = await agent.start(process.argv[2] === 'silent' ? { logger: false } : {});
    console.log('ready');
    mesh.on('dispatch_cancelled', () => {});
`;

test('by default failures go to stderr as they are, and with logger: false nothing does', async (t) => {
    const gateway = await Gateway.start({ test: t });
    for (const args of [[], ['silent']]) {
        const program = run_node(t, FAILING, { gateway, args });
        await program.wait_line('ready');
        await gateway.dispatch('fails');
        program.signal('SIGTERM');
        assert.equal(await program.wait(), 0, program.story());
        if (args.length > 0) assert.equal(program.stderr, '');
        else assert.match(program.stderr, /capability fails, dispatch .* failed\nError: 100%s wrong\n/);
    }
});

test('NODE_DEBUG=svantic shows what is not a warning', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const program = run_node(t, FAILING, { gateway, env: { NODE_DEBUG: 'svantic' } });
    await program.wait_line('ready');
    program.signal('SIGINT');
    assert.equal(await program.wait(), 0, program.story());
    assert.match(program.stderr, /SVANTIC \d+: agent desk: connection 1 to the mesh is open/);
});
