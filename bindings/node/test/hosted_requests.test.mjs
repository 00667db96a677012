// What a server hands to an agent, and what it gets back, whoever sent it.
import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import test from 'node:test';
import express from 'express';
import { CapabilityError } from 'svantic';
import { MeshConnector } from 'svantic/mesh';
import { agent_with, deferred } from './support/agents.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';
import { ask, call, listening, local, result_of } from './support/hosted.mjs';

const CARD = '/.well-known/agent-card.json';
const LARGE = 10 << 20;

test('a call without a mesh is answered, and its failure is a failed task', async (t) => {
    const fails = () => {
        throw new CapabilityError('no such order', { code: 'NOT_FOUND' });
    };
    const { send } = await local(t, { fails, later: async ({ n }) => n + 1, nothing: () => {} });
    assert.deepEqual(result_of(await send(call('later', { n: 1 }))), { result: 2 });
    assert.deepEqual(result_of(await send(call('nothing', {}, { id: 'c-0' }))), { result: null });
    const failed = await send(call('fails', {}, { id: 'c-2' }));
    assert.equal(failed.status, 200);
    assert.equal(failed.json.result.status.state, 'failed');
    assert.equal(result_of(failed).error.code, 'NOT_FOUND');
    assert.equal(result_of(await send('{')).error.code, -32700);
    assert.equal((await send(undefined)).json.error.code, -32700, 'no body at all');
});

test('a text alone is answered by the capability that is declared for it', async (t) => {
    const options = { default_capability: 'shout' };
    const { send } = await local(t, { shout: ({ text }) => text.toUpperCase() }, { options });
    const body = call('shout');
    body.params.message.parts = [{ kind: 'text', text: 'tea' }];
    assert.deepEqual(result_of(await send(body)), { result: 'TEA' });
});

test('paths and methods that mean nothing are refused, and handed on where somebody is next', async (t) => {
    const { site, agent } = await local(t);
    const at = async (method, path) => {
        const { status, headers } = await ask(site.url + path, { method });
        return [status, headers.allow];
    };
    assert.deepEqual(await at('GET', '/'), [404, undefined]);
    assert.deepEqual(await at('GET', '/send'), [405, 'POST']);
    assert.deepEqual(await at('DELETE', CARD), [405, 'GET, HEAD']);
    assert.deepEqual(await at('HEAD', `${CARD}?x=1`), [200, undefined]);

    const listener = agent.request_listener();
    const seen = [];
    site.handle = (request, response) => listener(request, response, async () => {
        const chunks = await request.toArray();
        seen.push([request.url, Buffer.concat(chunks).toString()]);
        response.end('mine');
    });
    assert.equal((await ask(`${site.url}/orders?send`, { body: '{"n":1}' })).text, 'mine');
    assert.deepEqual(seen, [['/orders?send', '{"n":1}']], 'its body was not touched');
    assert.deepEqual(await at('GET', '/send'), [405, 'POST'], 'this path is the agent\'s');
    const reply = await ask(`${site.url}/send?trace=1`, { body: call('echo', { n: 1 }) });
    assert.deepEqual(result_of(reply), { result: { n: 1 } });
});

test('before there is a connector, and where it is of no use, requests get 503', async (t) => {
    const site = await listening(t);
    const agent = agent_with();
    site.handle = express().use(express.json());
    agent.expose(site.handle);
    for (const [method, path] of [['GET', CARD], ['POST', '/send']]) {
        const body = method === 'POST' ? '{}' : undefined;
        const { status, headers, json } = await ask(site.url + path, { method, body });
        assert.deepEqual([status, headers['retry-after'], json.jsonrpc, json.id], [503, '1', '2.0', null]);
        assert.equal(json.error.code, -32603);
        assert.match(json.error.message, /no connector/);
    }
    const gateway = await Gateway.start({ test: t });
    const mesh = new MeshConnector(agent, gateway.config({ logger: false }));
    gateway.at_end(() => mesh.close());
    await mesh.connect();
    const refused = await ask(`${site.url}/send`, { body: call('echo') });
    assert.equal(refused.status, 503);
    assert.match(refused.json.error.message, /over a WebSocket/);
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 }, 'that is where they come');
});

test('the latest connector answers, and an older one when that is closed', async (t) => {
    const site = await listening(t);
    const agent = agent_with();
    site.handle = agent.request_listener();
    const one = new MeshConnector(agent, { local: true, instance_id: 'one' });
    const two = new MeshConnector(agent, { local: true, instance_id: 'two' });
    const connected = new MeshConnector(agent, { svantic_url: 'http://127.0.0.1:1', token: 'x.y.z' });
    t.after(() => Promise.all([one, two, connected].map((mesh) => mesh.close())));
    let n = 0;
    const send = async () => {
        const { status } = await ask(`${site.url}/send`, { body: call('echo', {}, { id: `c-${(n += 1)}` }) });
        const runs = [one, two].map((mesh) => (mesh.state === 'closed' ? '-' : mesh.stats.dispatches));
        return [status, ...runs];
    };
    assert.deepEqual(await send(), [200, 0, 1]);
    await two.close();
    assert.deepEqual(await send(), [200, 1, '-']);
    await one.close();
    assert.deepEqual(await send(), [503, '-', '-']);
});

for (const [how, headers] of [['with its length', { 'content-length': LARGE }], ['in chunks', {}]]) {
    test(`a body of 10 MB ${how} is refused with 413, which its sender can read`, async (t) => {
        const { site, mesh } = await local(t);
        for (const [name, handle] of [
            ['plain', site.handle],
            ['Express', (() => {
                const app = express();
                mesh.agent.expose(app);
                return app;
            })()],
        ]) {
            site.handle = handle;
            const { status, json } = await new Promise((resolve, reject) => {
                const options = { method: 'POST', agent: false };
                options.headers = { 'content-type': 'application/json', ...headers };
                const request = http.request(`${site.url}/send`, options, async (response) => {
                    const text = Buffer.concat(await response.toArray()).toString();
                    resolve({ status: response.statusCode, json: JSON.parse(text) });
                });
                request.on('error', reject);
                for (let sent = 0; sent < LARGE; sent += 1 << 20) request.write(Buffer.alloc(1 << 20, 'x'));
                request.end();
            });
            assert.deepEqual([name, status, json], [name, 413, { error: 'the body is larger than 4 MiB' }]);
        }
        assert.equal((await ask(`${site.url}/send`, { body: call('echo') })).status, 200);
    });
}

test('a body just below the limit is read, whether or not it was parsed', async (t) => {
    const { site, agent } = await local(t, { size: ({ text }) => text.length });
    const size = (4 << 20) - 1000;
    const body = JSON.stringify(call('size', { text: 'x'.repeat(size) }));
    assert.deepEqual(result_of(await ask(`${site.url}/send`, { body })), { result: size });
    site.handle = express().use(express.json({ limit: '8mb' }));
    agent.expose(site.handle);
    const again = JSON.stringify(call('size', { text: 'y'.repeat(size) }, { id: 'c-2' }));
    assert.deepEqual(result_of(await ask(`${site.url}/send`, { body: again })), { result: size });
    const large = JSON.stringify(call('size', { text: 'y'.repeat(5 << 20) }, { id: 'c-3' }));
    assert.equal((await ask(`${site.url}/send`, { body: large })).status, 413);
});

test('a body is taken from wherever a parser has left it', async (t) => {
    const { site, agent } = await local(t);
    const leave = {
        'an object': (text) => ({ body: JSON.parse(text) }),
        'a text': (text) => ({ body: text }),
        'bytes': (text) => ({ body: Buffer.from(text) }),
        'bytes beside an object': (text) => ({ body: { wrong: true }, rawBody: Buffer.from(text) }),
    };
    const listener = agent.request_listener();
    for (const [what, left] of Object.entries(leave)) {
        site.handle = async (request, response) => {
            const text = Buffer.concat(await request.toArray()).toString();
            listener(Object.assign(request, left(text)), response);
        };
        const reply = await ask(`${site.url}/send`, { body: call('echo', { what }, { id: what }) });
        assert.deepEqual(result_of(reply), { result: { what } }, what);
    }
    site.handle = async (request, response) => {
        await request.toArray();
        listener(request, response);
    };
    const gone = await ask(`${site.url}/send`, { body: call('echo') });
    assert.equal(gone.status, 500);
    assert.match(gone.json.error.message, /has read the body/);
    site.handle = express().use(express.urlencoded());
    agent.expose(site.handle);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    assert.equal((await ask(`${site.url}/send`, { body: 'a=b', headers })).status, 415);
});

/** Two ways to the same agent: by node:http, and as fetch() has it. */
async function ways(t, handlers) {
    const { site, agent } = await local(t, handlers);
    const post = (body) => {
        const headers = { 'content-type': 'application/json' };
        return { method: 'POST', headers, body: JSON.stringify(body) };
    };
    return {
        'node:http': (body) => fetch(`${site.url}/send`, post(body)),
        fetch: (body) => agent.fetch(new Request('http://desk.test/send', post(body))),
    };
}

test('a stream begins before its call has ended, and ends with the answer', async (t) => {
    const running = deferred();
    let finish;
    const waits = ({ n }) => new Promise((resolve) => (finish = () => resolve(n), running.resolve()));
    for (const [name, send] of Object.entries(await ways(t, { waits }))) {
        const response = await send(call('waits', { n: name }, { id: name, method: 'message/stream' }));
        assert.equal(response.status, 200);
        assert.match(response.headers.get('content-type'), /^text\/event-stream/);
        await running.promise;
        await wait_for(() => finish, 'the handler');
        finish();
        finish = undefined;
        const text = await response.text();
        const events = text.split('\n').filter((line) => line.startsWith('data:'));
        assert.equal(events.length, 1, text);
        assert.deepEqual(result_of({ json: JSON.parse(events[0].slice(5)) }), { result: name });
    }
});

test('what compresses responses is told to let each part out', async (t) => {
    const finish = deferred();
    const { site, agent } = await local(t, { waits: () => finish.promise });
    const listener = agent.request_listener();
    let flushed = 0;
    site.handle = (request, response) => {
        response.flush = () => (flushed += 1);
        listener(request, response);
    };
    const streaming = ask(`${site.url}/send`, {
        body: call('waits', {}, { method: 'message/stream' }),
        on_response: () => finish.resolve(1),
    });
    assert.match((await streaming).text, /"result":1/);
    assert.ok(flushed >= 1);
});

for (const method of ['message/send', 'message/stream']) {
    test(`${method}: who hangs up cancels nothing, and gets the answer another time`, async (t) => {
        const [running, finish] = [deferred(), deferred()];
        let runs = 0;
        const waits = async (_args, context) => {
            runs += 1;
            running.resolve(context);
            return finish.promise;
        };
        const { site, agent, mesh } = await local(t, { waits });
        const body = call('waits', { n: 1 }, { method });
        const headers = { 'content-type': 'application/json' };
        const waiting = (count) => wait_for(() => mesh.snapshot().calls_waiting === count, `${count} calls`);
        const request = http.request(`${site.url}/send`, { method: 'POST', headers });
        request.on('error', () => {}).end(JSON.stringify(body));
        const context = await running.promise;
        await waiting(1);
        request.destroy();
        await waiting(0);

        const leaving = new AbortController();
        const init = { method: 'POST', headers, body: JSON.stringify(body), signal: leaving.signal };
        const direct = agent.fetch(new Request('http://desk.test/send', init));
        await waiting(1);
        if (method === 'message/stream') await (await direct).body.cancel();
        else leaving.abort();
        await waiting(0);
        if (method === 'message/send') assert.equal((await direct).status, 499);
        assert.equal(context.signal.aborted, false);
        finish.resolve('kept');
        const again = await ask(`${site.url}/send`, { body: { ...body, method: 'message/send' } });
        assert.deepEqual(result_of(again), { result: 'kept' });
        assert.equal(runs, 1);
    });
}

test('a retry while the call runs waits with it, and both get the answer', async (t) => {
    const [running, finish] = [deferred(), deferred()];
    let runs = 0;
    const waits = () => ((runs += 1), running.resolve(), finish.promise);
    const { send } = await local(t, { waits });
    const both = [send(call('waits'))];
    await running.promise;
    both.push(send(call('waits')));
    const other = await send(call('waits', { another: 'body' }));
    assert.equal(other.json.error.code, -32602, 'the same id, and not the same call');
    finish.resolve('once');
    for (const reply of await Promise.all(both)) assert.deepEqual(result_of(reply), { result: 'once' });
    assert.equal(runs, 1);
});

test('HTTP/2 carries the card, calls and streams as well', async (t) => {
    const { agent } = await local(t);
    const server = http2.createServer(agent.request_listener());
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const client = http2.connect(`http://127.0.0.1:${server.address().port}`);
    t.after(() => (client.destroy(), server.close()));
    const send = async (headers, body) => {
        const stream = client.request({ 'content-type': 'application/json', ...headers });
        stream.end(body && JSON.stringify(body));
        let status;
        stream.on('response', (told) => (status = told[':status']));
        const text = Buffer.concat(await stream.toArray()).toString();
        return [status, text];
    };
    const [status, card] = await send({ ':path': CARD });
    assert.deepEqual([status, new URL(JSON.parse(card).url).port], [200, String(server.address().port)]);
    const post = { ':method': 'POST', ':path': '/send' };
    const [, reply] = await send(post, call('echo', { n: 1 }));
    assert.deepEqual(result_of({ json: JSON.parse(reply) }), { result: { n: 1 } });
    const [, events] = await send(post, call('echo', { n: 2 }, { id: 'c-2', method: 'message/stream' }));
    assert.match(events, /^data:.*"n":2/m);
    const [refused] = await send(post, { text: 'x'.repeat(5 << 20) });
    assert.equal(refused, 413);
});

test('500 calls at once each get their own answer', async (t) => {
    const waits = ({ n }) => new Promise((resolve) => setImmediate(resolve, n));
    const { send } = await local(t, { waits });
    const asked = Array.from({ length: 500 }, (_, n) => send(call('waits', { n }, { id: `c-${n}` })));
    const replies = await Promise.all(asked);
    assert.deepEqual(replies.map((reply) => result_of(reply).result), replies.map((_, n) => n));
});

test('two agents in one app answer under their own paths, and no answer crosses', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const site = await listening(t);
    const app = (site.handle = express().use(express.json()));
    const agents = ['orders', 'shelves'].map((name) => {
        const who = async ({ n }) => (await null, [name, n]);
        const agent = agent_with({ who }, { name, instance_id: name, public_url: `${site.url}/${name}` });
        const router = express.Router();
        agent.expose(router);
        app.use(`/${name}`, router);
        return agent;
    });
    app.get('/', (_request, response) => response.send('the app itself'));
    for (const agent of agents) {
        await agent.start(gateway.config({ handle_signals: false, logger: false }));
        gateway.at_end(() => agent.stop());
    }
    const asked = Array.from({ length: 50 }, (_, n) => {
        const instance_id = n % 2 ? 'orders' : 'shelves';
        return gateway.dispatch('who', { n }, { instance_id }).then(({ result }) => [instance_id, n, result]);
    });
    for (const [instance_id, n, result] of await Promise.all(asked)) {
        assert.deepEqual(result, [instance_id, n]);
    }
    for (const agent of agents) {
        const { json } = await ask(`${site.url}/${agent.name}${CARD}`, { method: 'GET' });
        assert.deepEqual([json.name, json.url], [agent.name, `${site.url}/${agent.name}/send`]);
    }
    await agents[0].stop();
    assert.equal((await ask(`${site.url}/orders/send`, { body: call('who') })).status, 503);
    const left = await gateway.dispatch('who', { n: 1 }, { instance_id: 'shelves' });
    assert.deepEqual(left.result, ['shelves', 1]);
    assert.equal((await ask(site.url, { method: 'GET' })).text, 'the app itself');
});

test('the card is never half of a change', async (t) => {
    const { site, agent } = await local(t);
    const cards = [];
    const read = async () => {
        const { json } = await ask(site.url + CARD, { method: 'GET' });
        cards.push(json.skills.map(({ id }) => id));
    };
    for (let n = 0; n < 20; n += 1) {
        const reading = read();
        agent.define_capability({ name: `more_${n}`, description: 'More.', handler() {} });
        await Promise.all([reading, read()]);
    }
    assert.equal(cards.at(-1).length, 21);
    for (const skills of cards) {
        assert.deepEqual(skills, ['echo', ...skills.slice(1).map((_, n) => `more_${n}`)]);
    }
});

test('what cannot be exposed is refused at once', async (t) => {
    const agent = agent_with();
    for (const app of [undefined, {}, http.createServer()]) {
        const refused = { name: 'TypeError', message: /must be an app or a router of Express/ };
        assert.throws(() => agent.expose(app), refused);
    }
    const no_path = { name: 'TypeError', message: /endpoint_path must be a path/ };
    assert.throws(() => agent.expose(express(), 'send'), no_path);
    const mesh = new MeshConnector(agent, { local: true });
    t.after(() => mesh.close());
    assert.throws(() => agent.expose(express(), '/call'), { name: 'TypeError', message: /tells \/send/ });
    agent.expose(express());
    const elsewhere = () => new MeshConnector(agent, { local: true, endpoint_path: '/call' });
    assert.throws(elsewhere, { name: 'TypeError', message: /expose\(\) mounts \/send/ });
});
