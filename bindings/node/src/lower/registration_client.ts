// Registration alone, for programs that keep the connection themselves.
import type { DispatchAuthScheme } from '../dispatch_auth';
import { SvanticError } from '../errors';
import type { OperationOptions } from '../operation';
import { check_keys, type DeploymentMode } from '../options';
import { NETWORK_KEYS, caller, required_text, single_call, type NetworkOptions } from './single_call';

/** How a dispatch is to prove that it is the mesh's. */
export interface DispatchAuthRequest {
    readonly scheme: DispatchAuthScheme;
    readonly required: boolean;
}

/** What is registered; sent as it is given. */
export interface RegistrationRequest {
    /** The type under which the mesh knows the agent. */
    readonly agent_type: string;
    /** This process among all of its type. */
    readonly instance_id: string;
    /** How calls reach it. */
    readonly deployment_mode: DeploymentMode;
    /** Hosted only: the base URL of its A2A surface. */
    readonly url?: string | undefined;
    /** Its A2A card, which tells the mesh what a connected agent can do. */
    readonly agent_card?: object | undefined;
    /** Its tools. */
    readonly tools?: readonly object[] | undefined;
    /** MCP servers by name. */
    readonly mcp_servers?: object | undefined;
    /** How dispatches are proven. */
    readonly dispatch_auth?: DispatchAuthRequest | undefined;
    /** How many sessions it takes at once; 0 is unlimited. */
    readonly max_concurrent_sessions?: number | undefined;
    /** Passed through. */
    readonly learning?: object | undefined;
}

/** What the mesh answers; passed on as it came. */
export interface RegistrationReply {
    readonly ok: boolean;
    readonly tenant_id: string;
    readonly instance_id: string;
    readonly deployment_mode: DeploymentMode;
    /** Where a connected agent opens its WebSocket. */
    readonly connect_url: string | null;
    readonly svantic_jwks_url: string | null;
    readonly dispatch_auth: DispatchAuthRequest | null;
}

/** Headers as `fetch` takes them. */
export type AuthHeaders = Readonly<Record<string, string | undefined>> | Iterable<readonly [string, string]>;

/** Where and as whom a {@link RegistrationClient} speaks. */
export interface RegistrationClientOptions extends NetworkOptions {
    /** Where the mesh is. */
    readonly svantic_url: string;
    /**
     * Asked before each call: `{Authorization: 'Bearer …'}`, and more headers if you like. `Content-Type`,
     * `Accept` and `User-Agent` are the library's and left out.
     */
    readonly auth_headers: () => AuthHeaders | Promise<AuthHeaders>;
}

/** Headers that the library writes itself. */
const OURS = new Set(['accept', 'content-length', 'content-type', 'user-agent']);

/** Registers instances with the mesh, and takes them off again. */
export class RegistrationClient {
    readonly #config: Readonly<Record<string, unknown>>;
    readonly #auth_headers: RegistrationClientOptions['auth_headers'];
    readonly #logger: unknown;

    /** Opens nothing. Throws a `TypeError` for options that are missing. */
    constructor(options: RegistrationClientOptions) {
        check_keys(Object.keys(options), [...NETWORK_KEYS, 'svantic_url', 'auth_headers'], {});
        const { svantic_url, auth_headers, logger, ...network } = options;
        if (typeof auth_headers !== 'function') {
            throw new TypeError('auth_headers must be a function that returns {Authorization: "Bearer …"}');
        }
        this.#config = {
            ...network,
            ...caller('RegistrationClient', 'registers an instance', 'registration-client'),
            svantic_url: required_text(svantic_url, 'svantic_url'),
        };
        this.#auth_headers = auth_headers;
        this.#logger = logger;
    }

    /**
     * Registers an instance, or what is new about it. Exactly the fields of `request` are sent.
     *
     * Failures that may pass are tried again within `timeout_ms` (default 30,000). Rejects with {@link
     * SvanticError}: status `AUTH` for a token that is refused, `REMOTE` with the mesh's code (such as
     * `DEPLOYMENT_MODE_MISMATCH`) and `http_status`, `NETWORK`, `TLS`, `TIMEOUT`, or `PROTOCOL`; and with
     * what `auth_headers` throws.
     */
    async register(request: RegistrationRequest, options: OperationOptions = {}): Promise<RegistrationReply> {
        const reply = await this.#post('/agents/register', request, options);
        if (typeof reply === 'object' && reply !== null) return reply as RegistrationReply;
        throw new SvanticError('the mesh has answered POST /agents/register without an object', {
            status: 'PROTOCOL',
            code: 'INVALID_REPLY',
        });
    }

    /**
     * Takes an instance off the mesh. One that the mesh does not know is no error. Otherwise rejects as
     * `register`.
     */
    async deregister(
        instance: { readonly agent_type: string; readonly instance_id: string },
        options: OperationOptions = {},
    ): Promise<void> {
        const { agent_type, instance_id } = instance;
        try {
            await this.#post('/agents/deregister', { agent_type, instance_id }, options);
        } catch (error) {
            if (!(error instanceof SvanticError && error.http_status === 404)) throw error;
        }
    }

    async #post(path: string, body: object, options: OperationOptions): Promise<unknown> {
        options.signal?.throwIfAborted();
        const { token, more } = sorted(await unless_aborted(this.#auth_headers(), options.signal));
        const config = { ...this.#config, token };
        return single_call(config, this.#logger, (session) =>
            session.run((native, ms, tag) => native.request(path, body, more, ms, tag), options),
        );
    }
}

/** What `given` becomes, unless the signal ends the wait for it. */
function unless_aborted<Value>(given: Value | Promise<Value>, signal?: AbortSignal): Promise<Value> {
    return new Promise((resolve, reject) => {
        const abort = () => reject(signal?.reason);
        const done = () => signal?.removeEventListener('abort', abort);
        signal?.addEventListener('abort', abort, { once: true });
        if (signal?.aborted) abort(); // by auth_headers itself
        Promise.resolve(given).finally(done).then(resolve, reject);
    });
}

/** The token among the headers, and what is sent beside it. */
function sorted(headers: AuthHeaders): { token: string; more: Record<string, string> | undefined } {
    // What it is instead may be the token itself, and is not shown.
    if (typeof headers !== 'object' || headers === null) {
        throw new TypeError('auth_headers must give an object of headers');
    }
    const entries: Iterable<readonly [string, string | undefined]> =
        Symbol.iterator in headers ? headers : Object.entries(headers);
    let token: string | undefined;
    const more: [string, string][] = [];
    for (const [name, value] of entries) {
        const lower = name.toLowerCase();
        if (lower === 'authorization') token = /^bearer +(\S+) *$/i.exec(value ?? '')?.[1];
        else if (value !== undefined && !OURS.has(lower)) more.push([name, value]);
    }
    if (token === undefined) {
        throw new TypeError('auth_headers must give an Authorization of the form "Bearer <token>"');
    }
    return { token, more: more.length > 0 ? Object.fromEntries(more) : undefined };
}
