// Servers that an agent is exposed on, and calls to it without the mesh.
import http from 'node:http';
import { serve } from '@hono/node-server';
import express from 'express';
import Fastify from 'fastify';
import { Hono } from 'hono';
import { agent_with } from './agents.mjs';
import { GUARD_MS } from './environment.mjs';

/** The secret that the gateway of these tests signs with. */
export const SECRET = 'dispatch-secret-of-the-tests-7f3a';

/**
 * A server of node:http on a free port, closed with its test: `{url, handle, server}`. What it does with a
 * request is set later, since an agent has to know the URL.
 */
export async function listening(test) {
    const site = { handle: (_request, response) => response.writeHead(503).end() };
    site.server = http.createServer((request, response) => site.handle(request, response));
    await new Promise((resolve) => site.server.listen(0, '127.0.0.1', resolve));
    test.after(() => {
        site.server.closeAllConnections();
        site.server.close();
    });
    site.url = `http://127.0.0.1:${site.server.address().port}`;
    return site;
}

/** Every way to put an agent on a server: `(test, make) => url`; `make(url)` makes the agent for it. */
export const CARRIERS = {
    async 'node:http'(test, make) {
        const site = await listening(test);
        site.handle = make(site.url).request_listener();
        return site.url;
    },
    async 'node:http under a path'(test, make) {
        const site = await listening(test);
        site.handle = make(`${site.url}/desk`).request_listener();
        return `${site.url}/desk`;
    },
    async Express(test, make) {
        const site = await listening(test);
        site.handle = express();
        make(site.url).expose(site.handle);
        return site.url;
    },
    async 'Express behind express.json()'(test, make) {
        const site = await listening(test);
        site.handle = express().use(express.json());
        make(site.url).expose(site.handle);
        return site.url;
    },
    async 'a router of Express'(test, make) {
        const site = await listening(test);
        const router = express.Router();
        site.handle = express().use('/desk', router);
        make(`${site.url}/desk`).expose(router, '/a2a/call');
        return `${site.url}/desk`;
    },
    async 'a listener in Express'(test, make) {
        const site = await listening(test);
        site.handle = express().use('/desk', make(`${site.url}/desk`).request_listener());
        return `${site.url}/desk`;
    },
    async Fastify(test, make) {
        const site = await listening(test);
        const app = Fastify({ serverFactory: (handle) => ((site.handle = handle), site.server) });
        const listener = make(site.url).request_listener();
        app.register(async (scope) => {
            scope.removeAllContentTypeParsers();
            scope.addContentTypeParser('*', (_request, _payload, done) => done(null));
            scope.all('/*', (request, reply) => {
                reply.hijack();
                listener(request.raw, reply.raw);
            });
        });
        await app.ready();
        return site.url;
    },
    async 'Fastify with its parser'(test, make) {
        const site = await listening(test);
        const app = Fastify({ serverFactory: (handle) => ((site.handle = handle), site.server) });
        const listener = make(site.url).request_listener();
        app.all('/*', (request, reply) => {
            reply.hijack();
            listener(Object.assign(request.raw, { body: request.body }), reply.raw);
        });
        await app.ready();
        return site.url;
    },
    async Hono(test, make) {
        const app = new Hono();
        let agent;
        app.all('/desk/*', (context) => agent.fetch(context.req.raw, context.env));
        const server = await new Promise((resolve) => {
            const where = { fetch: app.fetch, port: 0, hostname: '127.0.0.1' };
            const started = serve(where, () => resolve(started));
        });
        test.after(() => {
            server.closeAllConnections();
            server.close();
        });
        const url = `http://127.0.0.1:${server.address().port}/desk`;
        agent = make(url);
        return url;
    },
};

/** The data of a call as the mesh puts it. */
export function call(skill_id, args = {}, { id = 'c-1', method = 'message/send', ...more } = {}) {
    const parts = [{ kind: 'data', data: { skill_id, args, ...more } }];
    const message = { kind: 'message', role: 'user', messageId: id, parts };
    return { jsonrpc: '2.0', id, method, params: { message } };
}

/**
 * One request: `{status, headers, text, json}`. `body` is a text, bytes or what is to be JSON; `headers` win
 * over the usual ones.
 */
export async function ask(url, { method = 'POST', body, headers = {}, on_response } = {}) {
    const is_raw = body === undefined || typeof body === 'string' || body instanceof Uint8Array;
    const bytes = is_raw ? body : JSON.stringify(body);
    return new Promise((resolve, reject) => {
        const options = { method, agent: false, signal: AbortSignal.timeout(GUARD_MS) };
        options.headers = { 'content-type': 'application/json', ...headers };
        const request = http.request(url, options, (response) => {
            const chunks = [];
            response.on('data', (chunk) => chunks.push(chunk)).on('error', reject).on('end', () => {
                const text = Buffer.concat(chunks).toString();
                const { statusCode: status, headers: told } = response;
                const is_json = (told['content-type'] ?? '').startsWith('application/json') && text !== '';
                resolve({ status, headers: told, text, json: is_json ? JSON.parse(text) : undefined });
            });
            on_response?.(response, request);
        });
        request.on('error', reject).end(bytes);
    });
}

/** The result in the reply to a call, or the code of the error. */
export function result_of({ json }) {
    if (json.error) return { error: json.error };
    const parts = json.result.parts ?? json.result.status.message.parts;
    return parts.find((part) => part.kind === 'data').data;
}

/** A hosted agent on a plain server, without a mesh: `{agent, mesh, site, send}`. */
export async function local(test, handlers = {}, { options = {}, config = {} } = {}) {
    const site = await listening(test);
    const agent = agent_with(handlers, config);
    site.handle = agent.request_listener();
    const mesh = await agent.start({ local: true, logger: false, handle_signals: false, ...options });
    test.after(() => agent.stop());
    const send = (body, more) => ask(`${site.url}/send`, { body, ...more });
    return { agent, mesh, site, send };
}
