// Requests of servers in the style of fetch().
import type { IncomingMessage, ServerResponse } from 'node:http';
import { MOST_BODY_BYTES, body_is_gone, too_large, type Answering, type ResponsePart } from './exchange';
import type { OpenResponses } from './node_http';

/** What `@hono/node-server` hands over beside the request: the objects of node:http. */
interface Surroundings {
    readonly incoming?: Partial<IncomingMessage>;
    readonly outgoing?: Partial<ServerResponse>;
}

/** Answers one request. The promise never rejects. */
export async function answer_fetch(
    answering: Answering,
    open: OpenResponses,
    request: Request,
    surroundings: unknown,
): Promise<Response> {
    const { method } = request;
    const { incoming, outgoing } = (surroundings ?? {}) as Surroundings;
    const url = new URL(request.url);
    let body: Uint8Array | undefined;
    if (method !== 'GET' && method !== 'HEAD') {
        if (request.bodyUsed) return whole(body_is_gone());
        const read = await read_body(request);
        if (read === 'gone') return whole(body_is_gone());
        if (read === 'too large') return whole(too_large());
        body = read;
    }
    const headers = { host: url.host, ...Object.fromEntries(request.headers) };
    const peer = incoming?.socket?.remoteAddress;
    if (typeof outgoing?.once === 'function') open.add(outgoing as ServerResponse);
    return new Promise((resolve) => {
        const response = new Parts(resolve);
        const gone = answering.serve({ method, path: url.pathname, headers, peer, body }, (part) =>
            response.take(part),
        );
        response.gone = gone;
        const abort = () => {
            gone();
            response.end();
            resolve(new Response(null, { status: 499 })); // for whoever awaits it; nobody is left to read it
        };
        if (request.signal.aborted) abort();
        else request.signal.addEventListener('abort', abort, { once: true });
    });
}

async function read_body(request: Request): Promise<Uint8Array | 'too large' | 'gone'> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    try {
        const reader = request.body?.getReader();
        if (reader === undefined) return new Uint8Array();
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return Buffer.concat(chunks, size);
            size += value.length;
            if (size > MOST_BODY_BYTES) {
                reader.cancel().catch(() => {});
                return 'too large';
            }
            chunks.push(value);
        }
    } catch {
        // Somebody else reads it; or the client has gone in the middle of it, and reads no response either.
        return 'gone';
    }
}

const ENCODER = new TextEncoder();

/** The parts of a response on their way into one of fetch(). */
class Parts {
    /** Says that the client has gone. */
    gone = (): void => {};
    readonly #resolve: (response: Response) => void;
    #stream: ReadableStreamDefaultController<Uint8Array> | undefined;

    constructor(resolve: (response: Response) => void) {
        this.#resolve = resolve;
    }

    take(part: ResponsePart): void {
        if (part.status !== undefined && !part.more) {
            this.#resolve(whole(part));
            return;
        }
        if (part.status !== undefined) this.#resolve(new Response(this.#open(), init(part)));
        try {
            if (part.body) this.#stream?.enqueue(ENCODER.encode(part.body));
        } catch {
            this.gone(); // it was cancelled meanwhile
        }
        if (!part.more) this.end();
    }

    /** Ends the stream, if there is one that is open: whoever reads it waits no more. */
    end(): void {
        try {
            this.#stream?.close();
        } catch {
            // It was cancelled, or has been ended.
        }
    }

    #open(): ReadableStream<Uint8Array> {
        return new ReadableStream({
            start: (controller) => {
                this.#stream = controller;
            },
            cancel: () => this.gone(),
        });
    }
}

/** These have no body, and Response insists. */
const WITHOUT_BODY: readonly number[] = [204, 205, 304];

function whole(part: ResponsePart): Response {
    const settings = init(part);
    return new Response(WITHOUT_BODY.includes(settings.status) ? null : (part.body ?? ''), settings);
}

function init(part: ResponsePart): { status: number; headers: Record<string, string> } {
    return { status: part.status ?? 500, headers: { ...part.headers } };
}
