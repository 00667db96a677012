// The library's own server: no server in the program, and nothing of it in JavaScript.
import assert from 'node:assert/strict';
import http from 'node:http';
import test from 'node:test';
import express from 'express';
import { agent_with, rejection } from './support/agents.mjs';
import { run_node } from './support/child.mjs';
import { Gateway } from './support/gateway.mjs';
import { SECRET, ask, call, listening, result_of } from './support/hosted.mjs';

const QUIET = { handle_signals: false, logger: false };

/** A port that nobody has at the moment. */
async function free_port() {
    const server = http.createServer();
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    return port;
}

test('a started agent listens by itself, and its calls are verified', async (t) => {
    const gateway = await Gateway.start({ test: t, args: ['--dispatch-secret', SECRET] });
    const agent = agent_with();
    const options = { ...QUIET, listen: '127.0.0.1:0', signing_secret: SECRET };
    const mesh = await agent.start(gateway.config(options));
    gateway.at_end(() => agent.stop());
    assert.equal(mesh.deployment_mode, 'hosted');
    const { listening: address } = mesh.snapshot();
    assert.equal(mesh.agent_card.url, `http://${address}/send`);
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 });
    assert.equal((await gateway.dispatch('echo', {}, { forge: 'expired' })).error.code, 'HTTP_401');
    assert.equal((await ask(`http://${address}/send`, { body: call('echo') })).status, 401);
    await agent.stop();
    await assert.rejects(ask(`http://${address}/send`, { body: call('echo') }), { code: 'ECONNREFUSED' });
});

test('a local agent listens and keeps the process until it is stopped', async (t) => {
    const program = run_node(t, `
        import { Agent } from 'svantic';
        const agent = new Agent({ name: 'desk', description: 'A desk' });
        agent.define_capability({ name: 'ping', description: 'Answers.', handler: () => 'pong' });
        agent.define_capability({ name: 'stop', description: 'Stops.', handler: () => void agent.stop() });
        const mesh = await agent.start({ local: true, listen: '127.0.0.1:0' });
        console.log('at ' + mesh.snapshot().listening);
    `);
    const url = `http://${await program.wait_line('at ')}/send`;
    assert.deepEqual(result_of(await ask(url, { body: call('ping') })), { result: 'pong' });
    assert.deepEqual(result_of(await ask(url, { body: call('stop', {}, { id: 'c-2' }) })), { result: null });
    assert.equal(await program.wait(), 0, program.story());
});

test('the port of a hosted agent is where it listens, and a taken one is an error', async (t) => {
    const port = await free_port();
    const gateway = await Gateway.start({ test: t });
    const agent = agent_with({}, { port, public_url: `http://127.0.0.1:${port}` });
    const mesh = await agent.start(gateway.config(QUIET));
    gateway.at_end(() => agent.stop());
    assert.equal(mesh.snapshot().listening, `127.0.0.1:${port}`);
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 });
    const second = agent_with({}, { port });
    const taken = await rejection(second.start({ ...QUIET, local: true }));
    assert.deepEqual([taken.status, taken.code], ['NETWORK', 'ADDRESS_IN_USE']);
    assert.equal(second.connector, undefined);
});

test('a port means nothing beside `listen`, on a server of the program, and in connected mode', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const site = await listening(t);
    const port = Number(new URL(site.url).port); // taken, so that whoever listens on it fails
    const beside = agent_with({}, { port });
    const mesh = await beside.start({ ...QUIET, local: true, listen: '127.0.0.1:0' });
    assert.match(mesh.snapshot().listening, /^127\.0\.0\.1:\d+$/);
    await beside.stop();
    const exposed = agent_with({}, { port, public_url: site.url });
    site.handle = express();
    exposed.expose(site.handle);
    await exposed.start(gateway.config(QUIET));
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 });
    await exposed.stop();
    const connected = agent_with({}, { port });
    await connected.start(gateway.config(QUIET));
    assert.equal(connected.connector.snapshot().listening ?? null, null);
    await connected.stop();
});
