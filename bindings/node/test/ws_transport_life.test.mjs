// How long a transport lives: collected, in workers, and as what keeps a process alive.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { run_node } from './support/child.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.stop());

const PROGRAM = `
    import { MeshAuth, RegistrationClient, WsTransport } from 'svantic/mesh';
    const { SVANTIC_URL: url, SVANTIC_CLIENT_ID: client_id } = process.env;
    const { SVANTIC_CLIENT_SECRET: client_secret } = process.env;
    const [instance_id, mode] = process.argv.slice(2);
    const token = await MeshAuth.get_token(url, { client_id, client_secret, agent_type: 'desk' });
    const auth_headers = () => ({ Authorization: 'Bearer ' + token });
    const client = new RegistrationClient({ svantic_url: url, auth_headers });
    const who = { agent_type: 'desk', instance_id, deployment_mode: 'connected' };
    const { connect_url } = await client.register(who);
    const transport = new WsTransport({
        connect_url, token_provider: () => token, auto_reconnect: mode !== 'lost',
        hello: { instance_id, agent_type: 'desk', agent_version: '1', sdk_version: '1', agent_card: {} },
    });
    transport.on_frame(({ id, type }) => {
        const answer = { v: 1, type: 'dispatch_result', id: 'r', ts: new Date().toISOString() };
        const payload = { result: 'served' };
        if (type === 'dispatch') transport.send({ ...answer, in_reply_to: id, payload });
    });
    if (mode !== 'idle') await transport.connect();
    if (mode === 'unref') transport.unref();
    if (mode === 'close') await transport.close();
    if (mode === 'exit') process.exit(0);
    console.log('ready');
`;

test('a transport that nobody holds is collected', async (t) => {
    const program = run_node(
        t,
        `
        import { WsTransport } from 'svantic/mesh';
        const options = {
            connect_url: 'wss://mesh.test/x', token_provider: () => 'tok', hello: { instance_id: 'i' },
            logger: false, auto_reconnect: false, socket_factory: () => { throw new Error('no socket'); },
        };
        const make = async (used) => {
            const transport = new WsTransport(options);
            transport.on_frame(() => transport.state);
            if (used) await transport.connect().catch(() => {});
            return new WeakRef(transport);
        };
        const made = [await make(false), await make(true)];
        while (made.some((transport) => transport.deref())) {
            await new Promise((resolve) => setImmediate(resolve));
            globalThis.gc();
        }
        console.log('collected');
    `,
        { gateway, flags: ['--expose-gc'] },
    );
    assert.equal(await program.wait(), 0, program.story());
    assert.equal(program.stdout, 'collected');
});

test('a worker that ends takes its transports along', async (t) => {
    const program = run_node(
        t,
        `
        import { Worker } from 'node:worker_threads';
        const worker = new Worker(new URL('./worker.mjs', import.meta.url), { argv: process.argv.slice(2) });
        worker.on('message', async () => {
            console.log('ready');
            await worker.terminate();
            console.log('terminated');
            process.stdin.once('data', () => process.exit(0));
        });
    `,
        {
            gateway,
            args: ['in-a-worker'],
            files: {
                'worker.mjs': `import { parentPort } from 'node:worker_threads';
${PROGRAM}
parentPort.postMessage(1);`,
            },
        },
    );
    await program.wait_line('terminated');
    await wait_for(
        async () => (await gateway.agent('in-a-worker')).open_sockets === 0,
        'the end of its socket',
    );
    program.say();
    assert.equal(await program.wait(), 0, program.story());
});

for (const mode of ['idle', 'unref', 'close', 'exit']) {
    test(`a process ends by itself with a transport: ${mode}`, async (t) => {
        const program = run_node(t, PROGRAM, { gateway, args: [`life-${mode}`, mode] });
        assert.equal(await program.wait(), 0, program.story());
    });
}

test('a process stays while a transport is connected, and ends when its link is lost for good', async (t) => {
    const program = run_node(t, PROGRAM, { gateway, args: ['life-lost', 'lost'] });
    await program.wait_line('ready');
    // Round trips instead of a wait: it has had every opportunity to end.
    for (let count = 0; count < 20; count += 1) {
        assert.equal((await gateway.dispatch('x', {}, { instance_id: 'life-lost' })).result, 'served');
    }
    assert.ok(program.running);
    await gateway.close('life-lost', 1012);
    assert.equal(await program.wait(), 0, program.story());
});
