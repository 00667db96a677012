// Two agents in one Express process: calls from the mesh and requests over HTTP work on the same data.
//
//     npm install svantic express
//     PORT=3000 node express_app.mjs
//
// It takes SVANTIC_URL, SVANTIC_CLIENT_ID and SVANTIC_CLIENT_SECRET. SIGTERM ends it: no new requests,
// running calls finish, goodbye. With `cluster` each worker process is an instance of both agents.
import express from 'express';
import { Agent, CapabilityError, SvanticError } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

const orders = new Map([['A17', 'shipped']]); // what a database would hold

const order_desk = new Agent({ name: 'order-desk', description: 'Knows every order' });
order_desk.define_capability({
    name: 'find_order',
    description: 'Says where an order is.',
    parameters: { type: 'object', properties: { order_id: { type: 'string' } }, required: ['order_id'] },
    handler: async ({ order_id }) => {
        if (!orders.has(order_id)) throw new CapabilityError('no such order', { code: 'NOT_FOUND' });
        return { order_id, state: orders.get(order_id) };
    },
});

const stock_desk = new Agent({ name: 'stock-desk', description: 'Knows the shelves' });
stock_desk.define_capability({
    name: 'count_items',
    description: 'Counts the items on the shelf.',
    parameters: { type: 'object', properties: { item: { type: 'string' } }, required: ['item'] },
    handler: ({ item }) => item.length,
});

const desk = new MeshConnector(order_desk);
const meshes = [desk, new MeshConnector(stock_desk)];
const app = express();
app.use(express.json());

// Changes what the mesh is told from now on.
app.put('/orders/:order_id', (request, response) => {
    orders.set(request.params.order_id, request.body.state);
    response.json({ order_id: request.params.order_id, state: request.body.state });
});

app.post('/sessions', async (request, response) => {
    // Less patience than the connector's own: somebody waits for the page.
    const session_id = await desk.create_session({ user_id: request.body.user_id }, { timeout_ms: 5_000 });
    response.status(201).json({ session_id });
});

app.delete('/sessions/:session_id', async (request, response) => {
    await desk.close_session(request.params.session_id, { timeout_ms: 5_000 });
    response.status(204).end();
});

// For a load balancer: whether calls from the mesh can arrive. An outage passes by itself and is no reason to
// restart: a check that kills should look at `health.live`.
app.get('/ready', (_request, response) => {
    const health = meshes.map((mesh) => [mesh.agent.name, mesh.health]);
    const told = Object.fromEntries(health.map(([name, { reason }]) => [name, reason ?? 'ready']));
    response.status(health.every(([, { ready }]) => ready) ? 200 : 503).json(told);
});

// Express 5 hands on what an async route rejects with. `retryable` tells an outage from a refusal; the
// message says what failed, and never a secret.
app.use((error, _request, response, next) => {
    if (!(error instanceof SvanticError)) return next(error);
    const status = error.status === 'NOT_FOUND' ? 404 : error.retryable ? 503 : 502;
    response.status(status).json({ code: error.code, message: error.message });
});

// Both agents are there before the first request.
await Promise.all(meshes.map((mesh) => mesh.connect()));
const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
    console.log(`listening on ${server.address().port}`);
});

for (const name of ['SIGINT', 'SIGTERM']) {
    process.once(name, async () => {
        server.close();
        await Promise.all(meshes.map((mesh) => mesh.close())); // lets running calls finish, then says goodbye
    });
}
