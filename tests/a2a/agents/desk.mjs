// The desk of the A2A tests in Node: `desk.mjs listen|http|express CONFIG` is served by the library itself,
// by node:http or by Express, says where, and ends with its standard input.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

// The package and what it is tested with lie elsewhere, and modules know no search path.
const require = createRequire(new URL('../../../bindings/node/package.json', import.meta.url));
const { Agent, CapabilityError } = require('svantic');

const EVERYTHING = {
    lines: 'a\u2028b\u2029c\u0085d\ne\r\nf',
    quoted: '"\\/é😀',
    rest: [1, 2.5, -3e-7, true, false, null, '', [], {}],
    deep: { er: { still: [[['x']]] } },
};

function desk(name, description) {
    const agent = new Agent({ name, description });
    const define = (name, description, member, handler) =>
        agent.define_capability({
            name,
            description,
            parameters: { type: 'object', properties: member, required: Object.keys(member) },
            handler,
        });
    define('find_order', 'Says where an order is.', { order_id: { type: 'string' } }, ({ order_id }) => {
        if (order_id === 'C3') throw new CapabilityError('the order is locked', { code: 'ORDER_LOCKED' });
        if (order_id !== 'A17') throw new CapabilityError('no such order');
        return { order_id, state: 'shipped' };
    });
    define('count', 'Says what comes after a number.', { n: { type: 'integer' } }, async ({ n }) => {
        return { next: n + 1 };
    });
    define('recite', 'Says everything that JSON can say.', {}, async () => EVERYTHING);
    define('hear', 'Repeats a text.', { text: { type: 'string' } }, ({ text }) => ({ heard: text }));
    return agent;
}

async function serving(server) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const stop = async () => {
        server.close();
        server.closeIdleConnections();
    };
    return { url: `http://127.0.0.1:${server.address().port}`, stop };
}

const ways = {
    async listen(agent, options) {
        const mesh = await agent.start(options);
        return { url: `http://${mesh.snapshot().listening}`, stop: async () => {} };
    },
    async http(agent, { listen, ...options }) {
        const listener = agent.request_listener();
        await agent.start(options);
        return serving(createServer(listener));
    },
    async express(agent, { listen, ...options }) {
        const express = require('express');
        const app = express();
        app.use(express.json());
        agent.expose(app);
        await agent.start(options);
        return serving(createServer(app));
    },
};

const [how, config] = process.argv.slice(2);
const { name, description, ...options } = JSON.parse(config);
const agent = desk(name, description);
const { url, stop } = await ways[how](agent, options);
console.log(url);
process.stdin.resume();
await once(process.stdin, 'end');
await stop();
await agent.stop();
