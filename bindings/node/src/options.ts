// The options of a connector, and the configuration that the library gets.
import type { DispatchAuthScheme } from './dispatch_auth';
import { Log, type Logger } from './logger';

/** How calls reach an agent. */
export type DeploymentMode = 'connected' | 'hosted';

/** Every option of a connector. All may be left out; times are milliseconds. */
export interface MeshConnectorConfig {
    /** Where the mesh is. Default: `SVANTIC_URL`, else the platform's host. */
    readonly svantic_url?: string | undefined;
    /** Default: `SVANTIC_CLIENT_ID`. */
    readonly client_id?: string | undefined;
    /** Exchanged for a token, and again before it expires. Default: `SVANTIC_CLIENT_SECRET`. */
    readonly client_secret?: string | undefined;
    /** Shown when the mesh refuses `client_secret`: a secret is rotated without a restart. */
    readonly client_secret_next?: string | undefined;
    /** A JWT issued elsewhere, instead of the credentials. Default: `SVANTIC_TOKEN`. */
    readonly token?: string | undefined;
    /** Issues each token. What it throws is logged, and it is asked again. */
    readonly token_provider?: (() => string | PromiseLike<string>) | undefined;
    /** How long it has. Default 10,000. */
    readonly token_provider_timeout_ms?: number | undefined;
    /** The type under which the mesh knows the agent, in place of the agent's own. */
    readonly agent_type?: string | undefined;
    /** This connector among all of its type, in place of the agent's own. */
    readonly instance_id?: string | undefined;
    /** Where a hosted agent is reached, in place of the agent's own. */
    readonly public_url?: string | undefined;
    /** How calls reach the agent. */
    readonly deployment_mode?: DeploymentMode | undefined;
    /** How calls by HTTP prove where they come from; sent at registration. */
    readonly dispatch_auth?:
        { readonly scheme: DispatchAuthScheme; readonly required?: boolean } | undefined;
    /** Where calls are POSTed, below `public_url`. Default: `/send`, or what `expose()` was given. */
    readonly endpoint_path?: string | undefined;
    /** The key of the mesh's dispatch tokens. Default: `SVANTIC_DISPATCH_SECRET`. */
    readonly signing_secret?: string | undefined;
    /**
     * The one that follows it: either is good, so that a secret is rotated without a gap. Default:
     * `SVANTIC_DISPATCH_SECRET_NEXT`.
     */
    readonly signing_secret_next?: string | undefined;
    /** The token of the scheme `shared_secret`, whose default is then `SVANTIC_DISPATCH_SECRET`. */
    readonly shared_secret?: string | undefined;
    /** The one that follows it; in the same way `SVANTIC_DISPATCH_SECRET_NEXT`. */
    readonly shared_secret_next?: string | undefined;
    /** How far the mesh's clock may be off, in seconds. Default 30. */
    readonly clock_skew_s?: number | undefined;
    /** The capability that answers a message of text alone; it is called with `{text}`. */
    readonly default_capability?: string | undefined;
    /** Where the library itself serves: `"127.0.0.1:8080"`, or with the files (PEM) for https. */
    readonly listen?:
        | string
        | {
              readonly address: string;
              readonly certificate_file?: string | undefined;
              readonly key_file?: string | undefined;
          }
        | undefined;
    /** Without a mesh: requests are served from the start, and nothing is connected. Default false. */
    readonly local?: boolean | undefined;
    /** For how many µs after something came in the I/O thread stays awake, at most 1,000. Default 0. */
    readonly busy_poll_us?: number | undefined;
    /** Calls that run at once; 0 is no limit. Default: the agent's `max_concurrent_sessions`. */
    readonly max_in_flight?: number | undefined;
    /** Calls that may be with the application, started or not. Default 1024. */
    readonly max_pending_dispatches?: number | undefined;
    /** Calls that wait for one of those places; the rest is refused. Default 64. */
    readonly max_queued_dispatches?: number | undefined;
    /** The largest message in and out, in bytes. Default 4,194,304. */
    readonly max_frame_bytes?: number | undefined;
    /** Whether only a `CapabilityError` keeps its message on the way to the mesh. Default false. */
    readonly redact_handler_errors?: boolean | undefined;
    /** Whether a lost connection is made again. Default true. */
    readonly auto_reconnect?: boolean | undefined;
    /** Replaces the windows of the waits between attempts. */
    readonly reconnect_delays_ms?: readonly number[] | undefined;
    /** Whether the first connect fails at its first failure, also at one that may pass. Default false. */
    readonly fail_fast?: boolean | undefined;
    /** Permits `http` and `ws` to other hosts. Default false. */
    readonly allow_insecure?: boolean | undefined;
    /** Hosts beside that of `svantic_url` that the token may be sent to. */
    readonly allowed_connect_hosts?: readonly string[] | undefined;
    /** Certificates (PEM) that are trusted beside the platform's. */
    readonly ca_file?: string | undefined;
    /** The agent's certificate (PEM), for a mesh that asks for one. */
    readonly client_cert_file?: string | undefined;
    /** Its key (PEM, not encrypted). */
    readonly client_key_file?: string | undefined;
    /** `"http://user:password@host:port"` or `"none"`. Default: `HTTPS_PROXY` and its like. */
    readonly proxy?: string | undefined;
    /** For every call without a `timeout_ms`. Default 30,000. */
    readonly timeout_ms?: number | undefined;
    /** One HTTP call. Default 10,000. */
    readonly http_timeout_ms?: number | undefined;
    /** One stage of a dial. Default 10,000. */
    readonly stage_timeout_ms?: number | undefined;
    /** All of an attempt. Default 20,000. */
    readonly attempt_timeout_ms?: number | undefined;
    /** From the open WebSocket to the mesh's welcome. Default 10,000. */
    readonly welcome_timeout_ms?: number | undefined;
    /** Between heartbeats. Default 30,000. */
    readonly heartbeat_interval_ms?: number | undefined;
    /** Silence after which the library pings. Default 10,000. */
    readonly ping_interval_ms?: number | undefined;
    /** Silence after which the connection counts as dead. Default 20,000. */
    readonly dead_after_ms?: number | undefined;
    /** The mesh's patience with one call. Default 60,000. */
    readonly dispatch_timeout_ms?: number | undefined;
    /** How long a call may wait to be taken before the mesh is told `unhealthy`. Default 10,000. */
    readonly pick_up_timeout_ms?: number | undefined;
    /** How long a disconnect lets running calls finish. Default 30,000. */
    readonly drain_timeout_ms?: number | undefined;
    /** What takes the lines for people; `false` writes none. Default: warnings and errors to the console. */
    readonly logger?: Logger | false | undefined;
}

// Every key once, which the compiler checks.
const KEYS: Record<keyof MeshConnectorConfig, true> = {
    svantic_url: true, client_id: true, client_secret: true, client_secret_next: true, token: true,
    token_provider: true, token_provider_timeout_ms: true, agent_type: true, instance_id: true,
    public_url: true, deployment_mode: true, dispatch_auth: true, endpoint_path: true,
    signing_secret: true, signing_secret_next: true, shared_secret: true, shared_secret_next: true,
    clock_skew_s: true, default_capability: true, listen: true, local: true, busy_poll_us: true,
    max_in_flight: true, max_pending_dispatches: true, max_queued_dispatches: true, max_frame_bytes: true,
    redact_handler_errors: true, auto_reconnect: true, reconnect_delays_ms: true, fail_fast: true,
    allow_insecure: true, allowed_connect_hosts: true, ca_file: true, client_cert_file: true,
    client_key_file: true, proxy: true, timeout_ms: true, http_timeout_ms: true, stage_timeout_ms: true,
    attempt_timeout_ms: true, welcome_timeout_ms: true, heartbeat_interval_ms: true,
    ping_interval_ms: true, dead_after_ms: true, dispatch_timeout_ms: true, pick_up_timeout_ms: true,
    drain_timeout_ms: true, logger: true,
};

const NOT_HERE = 'is not an option here: this package takes what comes on the event loop by itself';
const REFUSED = { delivery: NOT_HERE, workers: NOT_HERE };

/** The keys of a {@link MeshConnectorConfig}. */
export const CONNECTOR_KEYS: readonly string[] = Object.keys(KEYS);

/** Whether an option says anything. */
export function is_given(value: unknown): boolean {
    return value !== undefined && value !== null;
}

/** Checked options: what the library gets, and what stays here. */
export class Options {
    readonly config: Readonly<Record<string, unknown>>;
    readonly token_provider: (() => unknown) | undefined;
    readonly redact: boolean;
    readonly log: Log;

    /**
     * `identity`: the part of the configuration that is the agent's. Throws a `TypeError` for what is no
     * option.
     */
    constructor(identity: Readonly<Record<string, unknown>>, options: unknown) {
        if (options !== undefined && (options === null || typeof options !== 'object')) {
            throw new TypeError('the options of a connector must be an object');
        }
        const all = Object.entries(options ?? {});
        check_keys(
            all.map(([key]) => key),
            CONNECTOR_KEYS,
            REFUSED,
        );
        const given = new Map<string, unknown>(all.filter(([, value]) => is_given(value)));
        const take = (key: string): unknown => {
            const value = given.get(key);
            given.delete(key);
            return value;
        };
        this.log = new Log(take('logger'));
        // Done here, where the error id is known that the log line repeats. The library would replace the
        // message of a CapabilityError too, since it cannot tell one from another failure.
        const redact = take('redact_handler_errors') ?? false;
        if (typeof redact !== 'boolean') throw new TypeError('redact_handler_errors must be true or false');
        this.redact = redact;
        const provider = take('token_provider');
        if (provider !== undefined && typeof provider !== 'function') {
            throw new TypeError('token_provider must be a function that returns a token or a promise of one');
        }
        this.token_provider = provider as (() => unknown) | undefined;
        if (provider !== undefined) given.set('token_provider', true);
        this.config = { ...identity, ...Object.fromEntries(given) };
        for (const [key, value] of Object.entries(this.config)) check_json(key, value);
    }
}

function check_json(key: string, value: unknown): void {
    let cause: unknown;
    try {
        if (JSON.stringify(value) !== undefined) return;
    } catch (error) {
        cause = error;
    }
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    throw new TypeError(`\`${key}\` is not JSON${why}`, { cause });
}

/** Throws a `TypeError` for the first of `given` that is not `known`, with what was probably meant. */
export function check_keys(
    given: readonly string[],
    known: readonly string[],
    refused: Readonly<Record<string, string>>,
    where = '',
): void {
    for (const key of given) {
        if (known.includes(key)) continue;
        if (Object.hasOwn(refused, key)) throw new TypeError(`"${key}" ${refused[key]}`);
        const meant = nearest(key, known);
        const hint = meant === undefined ? '' : `; "${meant}" was probably meant`;
        throw new TypeError(`unknown option ${JSON.stringify(key)}${where}${hint}`);
    }
}

/** Which of `known` was probably meant by `key`. */
export function nearest(key: string, known: readonly string[]): string | undefined {
    const plain = (text: string) => text.replaceAll(/[_-]/g, '').toLowerCase(); // clientId is client_id
    // A time without its unit is nearer to another time than to its own name.
    const with_unit = known.find((candidate) => plain(candidate) === `${plain(key)}ms`);
    if (with_unit !== undefined) return with_unit;
    const ranked = known
        .map((candidate) => ({ candidate, distance: distance(plain(key), plain(candidate)) }))
        .sort((one, other) => one.distance - other.distance);
    const best = ranked[0];
    return best !== undefined && best.distance <= Math.max(1, key.length / 4) ? best.candidate : undefined;
}

/** How many letters have to be changed, added or left out. */
function distance(one: string, other: string): number {
    let row = Array.from({ length: other.length + 1 }, (_, index) => index);
    for (let at = 1; at <= one.length; at += 1) {
        const next = [at];
        for (let to = 1; to <= other.length; to += 1) {
            const same = one[at - 1] === other[to - 1] ? 0 : 1;
            next.push(Math.min((next[to - 1] ?? 0) + 1, (row[to] ?? 0) + 1, (row[to - 1] ?? 0) + same));
        }
        row = next;
    }
    return row[other.length] ?? 0;
}
