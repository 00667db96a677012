// Requests of node:http, and of the frameworks that stand on it.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import {
    MOST_BODY_BYTES,
    body_is_gone,
    is_ours,
    too_large,
    type Answering,
    type RequestHead,
    type Respond,
    type ResponsePart,
} from './exchange';

/** So much more of a body that is too large is read and forgotten, so that its sender reads the response. */
const MOST_FORGOTTEN_BYTES = 64 << 20;
/** How long a client may take to read the last response of an agent that leaves. */
const LAST_RESPONSES_MS = 5_000;

/**
 * A handler of requests for `node:http`, Express and what takes the same. With `next` requests for other
 * paths than the agent's are handed on, otherwise they get their 404.
 */
export type AgentRequestListener = (
    request: IncomingMessage,
    response: ServerResponse,
    next?: (error?: unknown) => void,
) => void;

/** What frameworks leave on a request. */
interface Parsed {
    /** What a parser has made of the body: it cannot be read again. */
    readonly body?: unknown;
    /** The bytes that it has made that of. */
    readonly rawBody?: unknown;
    /** Whom it came from, where the framework trusts a proxy to say so. */
    readonly ip?: unknown;
}

/** Responses to requests that a connector was given, of one agent. */
export class OpenResponses {
    #open = 0;
    readonly #waiting: (() => void)[] = [];

    /** Counts a response until it is closed. */
    add(response: ServerResponse): void {
        this.#open += 1;
        when_closed(response, () => {
            this.#open -= 1;
            if (this.#open === 0) for (const wake of this.#waiting.splice(0)) wake();
        });
    }

    /** Resolves when none is open, or when somebody does not read his. */
    async none(): Promise<void> {
        if (this.#open === 0) return;
        await new Promise<void>((resolve) => {
            const late = setTimeout(resolve, LAST_RESPONSES_MS);
            this.#waiting.push(() => {
                clearTimeout(late);
                resolve();
            });
        });
    }
}

/** What is called when a connection closes. */
const of_connections = new WeakMap<Socket, Set<() => void>>();

/**
 * Calls back when a response is closed or can never be written. Of requests that came behind each other on
 * one connection Node closes but the response in turn, and forgets the others.
 */
function when_closed(response: ServerResponse, call: () => void): void {
    const { req } = response as { req?: Partial<IncomingMessage> };
    const socket = (req?.httpVersionMajor ?? 2) < 2 ? req?.socket : undefined;
    if (response.destroyed || socket?.destroyed === true) {
        call();
        return;
    }
    const calls = socket && calls_of(socket);
    const closed = () => {
        response.off('close', closed);
        calls?.delete(closed);
        call();
    };
    response.on('close', closed);
    calls?.add(closed);
}

/** One listener for each connection: of many, Node warns. */
function calls_of(socket: Socket): Set<() => void> {
    const known = of_connections.get(socket);
    if (known !== undefined) return known;
    const calls = new Set<() => void>();
    of_connections.set(socket, calls);
    socket.once('close', () => {
        for (const call of calls) call();
    });
    return calls;
}

/** The handler for requests as they come. */
export function listener(answering: Answering, open: OpenResponses): AgentRequestListener {
    return (request, response, next) => {
        const target = request.url ?? '/';
        if (typeof next === 'function' && !is_ours(answering.targets(), target)) next();
        else answer(answering, open, request, response, target);
    };
}

/** Answers one request as if it were for `path`. */
export function answer(
    answering: Answering,
    open: OpenResponses,
    request: IncomingMessage & Parsed,
    response: ServerResponse,
    path: string,
): void {
    const method = request.method ?? 'GET';
    const peer = typeof request.ip === 'string' ? request.ip : request.socket?.remoteAddress;
    const head: RequestHead = { method, path, headers: plain_headers(request), peer };
    const respond = writer(response);
    if (method === 'GET' || method === 'HEAD') {
        begin(answering, open, { ...head, body: undefined }, response, respond);
        return;
    }
    take_body(request, (body) => {
        if (body === 'gone') respond(body_is_gone());
        else if (body === 'too large') refuse_large(request, response);
        else begin(answering, open, { ...head, body }, response, respond);
    });
}

/** Without those of HTTP/2 that are none. */
function plain_headers({ headers, httpVersionMajor }: IncomingMessage): RequestHead['headers'] {
    if (httpVersionMajor < 2) return headers;
    const named = Object.entries(headers).filter(([name]) => !name.startsWith(':'));
    const host = headers[':authority'];
    return { ...(host === undefined ? {} : { host }), ...Object.fromEntries(named) };
}

function begin(
    answering: Answering,
    open: OpenResponses,
    request: Parameters<Answering['serve']>[0],
    response: ServerResponse,
    respond: Respond,
): void {
    if (response.destroyed) return;
    open.add(response);
    const gone = answering.serve(request, respond);
    when_closed(response, () => {
        if (!response.writableFinished) gone();
    });
}

type Body = Uint8Array | 'too large' | 'gone';

/** The body: what is left of it where a parser has read it, otherwise as it comes. Called once, or never. */
function take_body(request: IncomingMessage & Parsed, take: (body: Body) => void): void {
    if (request.rawBody instanceof Uint8Array) take(limited(request.rawBody));
    else if (request.readableDidRead || request.readableEnded) take(parsed_body(request.body));
    else if (Number(request.headers['content-length']) > MOST_BODY_BYTES) take('too large');
    else read_body(request, take);
}

function read_body(request: IncomingMessage, take: (body: Body) => void): void {
    const chunks: Buffer[] = [];
    let size = 0;
    const more = (chunk: Buffer | string) => {
        const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
        size += bytes.length;
        if (size <= MOST_BODY_BYTES) {
            chunks.push(bytes);
            return;
        }
        request.off('data', more).off('end', done);
        take('too large');
    };
    const done = () => take(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, size));
    // A client that hangs up is told by the response, which closes too.
    request.on('error', () => {}).on('data', more).on('end', done);
}

function parsed_body(body: unknown): Body {
    if (body instanceof Uint8Array) return limited(body);
    if (typeof body === 'string') return limited(Buffer.from(body));
    if (body === undefined) return 'gone';
    try {
        return limited(Buffer.from(JSON.stringify(body)));
    } catch {
        return 'gone'; // whatever it has become, it is not what was sent
    }
}

function limited(body: Uint8Array): Body {
    return body.length > MOST_BODY_BYTES ? 'too large' : body;
}

/** Writes the parts as they come. */
function writer(response: ServerResponse): Respond {
    return (part) => {
        if (response.writableEnded || response.destroyed) return;
        try {
            write_head(response, part);
            if (part.more) {
                response.flushHeaders();
                if (part.body) response.write(part.body);
                // What compresses responses keeps small parts back until it is told.
                (response as { flush?: () => void }).flush?.();
            } else if (part.cancelled) {
                response.destroy();
            } else if (part.body) {
                response.end(part.body);
            } else {
                response.end();
            }
        } catch {
            response.destroy(); // by what somebody else has written into it
        }
    };
}

function write_head(response: ServerResponse, part: ResponsePart): void {
    if (part.status === undefined || response.headersSent) return;
    response.statusCode = part.status;
    for (const [name, value] of Object.entries(part.headers ?? {})) response.setHeader(name, value);
}

/** The connection ends with it, but not before the client has had the time to read it. */
function refuse_large(request: IncomingMessage, response: ServerResponse): void {
    const refusal = too_large();
    const body = refusal.body ?? '';
    write_head(response, refusal);
    response.setHeader('content-length', Buffer.byteLength(body));
    if (request.httpVersionMajor < 2) response.setHeader('connection', 'close');
    response.write(body);
    let left = MOST_FORGOTTEN_BYTES;
    const end = () => response.end();
    if (request.readableEnded) {
        end();
        return;
    }
    request
        .on('error', () => {})
        .on('end', end)
        .on('data', (chunk: Buffer | string) => {
            left -= chunk.length;
            if (left < 0) end();
        })
        .resume();
}
