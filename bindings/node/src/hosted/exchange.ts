// An HTTP request and the parts of its response, whatever server carries them.

/** Where an agent's card is, below its URL. */
export const CARD_PATH = '/.well-known/agent-card.json';

/** Where calls are POSTed unless something else is said. */
export const DEFAULT_ENDPOINT_PATH = '/send';

/** The largest body that the library takes. */
export const MOST_BODY_BYTES = 4 << 20;

/** A request without its body, as the library takes it. */
export interface RequestHead {
    readonly method: string;
    readonly path: string;
    readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
    /** Whom it came from, where that is known. */
    readonly peer?: string | undefined;
}

/** A request. */
export interface HostedRequest extends RequestHead {
    readonly body: Uint8Array | undefined;
}

/** A part of a response. The first has the status; exactly one is the last. */
export interface ResponsePart {
    readonly status?: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string;
    readonly more: boolean;
    /** Nobody waits for the rest any more. */
    readonly cancelled?: boolean;
}

/** Takes the parts, in order. Never throws. */
export type Respond = (part: ResponsePart) => void;

/** What an agent's requests are for: the paths of its card and its endpoint, and its URL's before them. */
export interface Targets {
    readonly prefixes: readonly string[];
    readonly paths: readonly string[];
}

/** Where requests go. */
export interface Answering {
    /** What is answered at this moment. */
    targets(): Targets;
    /**
     * Begins to answer; `respond` gets every part. Returns what says that the client has gone, after which
     * nothing comes any more.
     */
    serve(request: HostedRequest, respond: Respond): () => void;
}

/** The response when there is no connector that could answer. */
export function unavailable(message: string): ResponsePart {
    return rpc_error(503, message, { 'retry-after': '1' });
}

/** The response to a body that somebody else has taken. */
export function body_is_gone(): ResponsePart {
    return rpc_error(500, 'another part of the server has read the body and left nothing of it');
}

/** The response to a body that is larger than the library takes; the same as the library's own. */
export function too_large(): ResponsePart {
    const body = JSON.stringify({ error: 'the body is larger than 4 MiB' });
    return { status: 413, headers: { 'content-type': 'application/json' }, body, more: false };
}

function rpc_error(status: number, message: string, more_headers: Record<string, string> = {}): ResponsePart {
    const headers = { 'content-type': 'application/json', 'cache-control': 'no-store', ...more_headers };
    const body = JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32603, message } });
    return { status, headers, body, more: false };
}

/** Whether a request for `target` is one of the agent's. */
export function is_ours({ prefixes, paths }: Targets, target: string): boolean {
    const [path = ''] = target.split(/[?#]/, 1);
    return paths.some((own) => path === own || prefixes.some((prefix) => path === `${prefix}${own}`));
}
