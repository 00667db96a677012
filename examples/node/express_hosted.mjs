// Two hosted agents in one Express app: the mesh POSTs their calls to the app's own URL.
//
//     npm install svantic express
//     PUBLIC_URL=https://desks.example PORT=3000 node express_hosted.mjs
//
// It takes SVANTIC_URL, SVANTIC_CLIENT_ID, SVANTIC_CLIENT_SECRET and SVANTIC_DISPATCH_SECRET. `LOCAL=1`
// leaves the mesh out: any A2A client can call the agents then. SIGTERM ends it: running calls finish first.
import { once } from 'node:events';
import express from 'express';
import { Agent, CapabilityError } from 'svantic';

const app = express();
const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1');
await once(server, 'listening'); // the mesh reads the cards before the agents are on it
const base = process.env.PUBLIC_URL ?? `http://127.0.0.1:${server.address().port}`;

/** An agent of the app, below a path of its own. */
function desk(name, description) {
    const agent = new Agent({ name, description, public_url: `${base}/${name}` });
    const router = express.Router();
    agent.expose(router); // before express.json(), so that each call is verified as it came
    app.use(`/${name}`, router);
    return agent;
}

const orders = new Map([['A17', 'shipped']]); // what a database would hold
const order_desk = desk('order-desk', 'Knows every order');
order_desk.define_capability({
    name: 'find_order',
    description: 'Says where an order is.',
    parameters: { type: 'object', properties: { order_id: { type: 'string' } }, required: ['order_id'] },
    handler: async ({ order_id }) => {
        if (!orders.has(order_id)) throw new CapabilityError('no such order', { code: 'NOT_FOUND' });
        return { order_id, state: orders.get(order_id) };
    },
});

const stock_desk = desk('stock-desk', 'Knows the shelves');
stock_desk.define_capability({
    name: 'count_items',
    description: 'Counts the items on the shelf.',
    parameters: { type: 'object', properties: { item: { type: 'string' } }, required: ['item'] },
    handler: ({ item }) => item.length,
});

app.use(express.json());
app.put('/orders/:order_id', (request, response) => {
    orders.set(request.params.order_id, request.body.state);
    response.json({ order_id: request.params.order_id, state: request.body.state });
});

const local = process.env.LOCAL === '1';
await Promise.all([order_desk, stock_desk].map((agent) => agent.start({ local })));
console.log(`listening on ${server.address().port}`);
