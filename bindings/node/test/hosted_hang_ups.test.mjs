// Clients that go in the middle, or never come to an end, hold up neither the agent nor its program.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import { deferred } from './support/agents.mjs';
import { run_node } from './support/child.mjs';
import { wait_for } from './support/gateway.mjs';
import { ask, call, local } from './support/hosted.mjs';

const EXPRESS = import.meta.resolve('express');
const JSON_TYPE = { 'content-type': 'application/json' };

/** An agent that says when it is called; its calls never end, or are answered with much. */
const DESK = `
    import express from '${EXPRESS}';
    import { once } from 'node:events';
    import { Agent } from 'svantic';

    const app = express();
    const server = app.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const agent = new Agent({ name: 'desk', description: 'A desk' });
    let runs = 0;
    const counted = (answer) => () => (console.log('run ' + (runs += 1)), answer);
    const never = new Promise(() => {});
    agent.define_capability({ name: 'hangs', description: 'Hangs.', handler: counted(never) });
    const much = 'x'.repeat(900_000);
    agent.define_capability({ name: 'tells', description: 'Tells much.', handler: counted(much) });
    agent.expose(app);
    app.get('/hello', (_request, response) => response.end());
    await agent.start({ logger: false, local: true, drain_timeout_ms: 100 });
    console.log('ready ' + server.address().port);
`;

function head(length) {
    const fields = ['host: h', 'content-type: application/json', `content-length: ${length}`];
    return `POST /send HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`;
}

/** A request as it goes over the wire. */
function wire(skill_id, id) {
    const body = JSON.stringify(call(skill_id, {}, { id }));
    return head(body.length) + body;
}

function client(t, port) {
    const socket = net.connect(port, '127.0.0.1').on('error', () => {});
    t.after(() => socket.destroy());
    return socket;
}

/** What a client does before the signal. */
const CLIENTS = {
    async 'has gone, with calls that waited for their turn'(socket, program) {
        socket.write(wire('hangs', 'c-1') + wire('hangs', 'c-2'));
        await program.wait_line('run 2');
        socket.destroy();
    },
    async 'has sent half a body'(socket, _program, port) {
        socket.write(`${head(100)}{`);
        await ask(`http://127.0.0.1:${port}/hello`, { method: 'GET' });
    },
    async 'goes on with a body that was refused'(socket) {
        socket.write(`${head(100_000_000)}{`);
        await once(socket, 'data');
    },
    async 'does not read its responses'(socket, program) {
        socket.pause();
        for (let n = 1; n <= 20; n += 1) socket.write(wire('tells', `c-${n}`));
        await program.wait_line('run 20');
    },
};

for (const [what, act] of Object.entries(CLIENTS)) {
    test(`a signal ends the program although a client ${what}`, async (t) => {
        const program = run_node(t, DESK);
        const port = Number(await program.wait_line('ready'));
        await act(client(t, port), program, port);
        program.signal('SIGTERM');
        assert.equal(await program.wait(), 0, program.story());
    });
}

test('of calls behind each other on one connection none is waited for when that has gone', async (t) => {
    const [both_run, finish] = [deferred(), deferred()];
    let runs = 0;
    const waits = () => {
        runs += 1;
        if (runs === 2) both_run.resolve();
        return finish.promise;
    };
    const { site, mesh } = await local(t, { waits });
    const socket = client(t, site.server.address().port);
    socket.write(wire('waits', 'c-1') + wire('waits', 'c-2'));
    await both_run.promise;
    assert.equal(mesh.snapshot().calls_waiting, 2);
    socket.destroy();
    await wait_for(() => mesh.snapshot().calls_waiting === 0, 'no call that somebody waits for');
    finish.resolve();
});

test('fetch refuses a body that somebody else is reading', async (t) => {
    const { agent } = await local(t);
    const init = { method: 'POST', headers: JSON_TYPE, body: '{}' };
    const request = new Request('http://desk.test/send', init);
    request.body.getReader();
    assert.equal((await agent.fetch(request)).status, 500);
});

test('the stream of an aborted fetch ends', async (t) => {
    const finish = deferred();
    const { agent, mesh } = await local(t, { waits: () => finish.promise });
    const leaving = new AbortController();
    const body = JSON.stringify(call('waits', {}, { method: 'message/stream' }));
    const init = { method: 'POST', headers: JSON_TYPE, body, signal: leaving.signal };
    const text = (await agent.fetch(new Request('http://desk.test/send', init))).text();
    leaving.abort();
    assert.doesNotMatch(await text, /data:/);
    await wait_for(() => mesh.snapshot().calls_waiting === 0, 'no call that somebody waits for');
    finish.resolve();
});
