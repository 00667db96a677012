// An agent on the servers that people have, against their declarations. It is compiled, never run.
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { serve } from '@hono/node-server';
import express from 'express';
import Fastify from 'fastify';
import { Hono } from 'hono';
import { Agent, attach } from 'svantic';
import type { AgentApp, AgentFetch, AgentHandle, AgentRequestListener, AttachConfig } from 'svantic';
import type { MeshConnector, MeshConnectorConfig } from 'svantic/mesh';

const identity = { name: 'desk', description: 'A desk', public_url: 'https://desk.example/a' };
const agent = new Agent({ ...identity, port: 8080 });

const app = express();
agent.expose(app);
agent.expose(app, '/a2a');
const router = express.Router();
agent.expose(router, undefined);
app.use('/desk', router, agent.request_listener());
const mine: AgentApp = { get: () => {}, post: () => {} };
agent.expose(mine);

const listener: AgentRequestListener = agent.request_listener();
http.createServer(listener);
http.createServer((request: IncomingMessage, response: ServerResponse) => {
    listener(request, response, () => response.end());
});

const fastify = Fastify();
fastify.all('/*', (request, reply) => {
    reply.hijack();
    listener(Object.assign(request.raw, { body: request.body }), reply.raw);
});

const answer: AgentFetch = agent.fetch;
const response: Response = await answer(new Request('http://localhost/send'));
const hono = new Hono();
hono.all('/*', (context) => agent.fetch(context.req.raw, context.env));
hono.mount('/desk', agent.fetch);
serve({ fetch: hono.fetch });
serve({ fetch: agent.fetch });

const mesh: MeshConnectorConfig = {
    public_url: process.env['PUBLIC_URL'],
    endpoint_path: '/a2a',
    signing_secret: process.env['FIRST'],
    signing_secret_next: process.env['SECOND'],
    shared_secret: 's',
    shared_secret_next: undefined,
    clock_skew_s: 5,
    default_capability: 'look',
    listen: { address: '127.0.0.1:0', certificate_file: 'a.pem', key_file: 'b.pem' },
    local: false,
};
await agent.start({ ...mesh, listen: '127.0.0.1:0' });

const config: AttachConfig = { agent, mesh, endpoint_path: '/a2a' };
const handle: AgentHandle = await attach(app, config);
const connector: MeshConnector = handle.mesh;
await handle.ready;
await handle.detach();
await attach(router, { agent });

// @ts-expect-error: an app, not a server
agent.expose(http.createServer());
// @ts-expect-error: a path is a text
agent.expose(app, 5);
// @ts-expect-error: an address, or an object with one
await agent.start({ listen: 8080 });
// @ts-expect-error: attach takes the agent in an object
await attach(app, agent);

export { connector, response };
