// What a WsTransport is made from, and the library's configuration for it.
import type { EventTargetSocketLike, WebSocketLike } from './foreign_socket';
import { check_keys } from '../options';
import { NETWORK_KEYS, required_text, type NetworkOptions } from './single_call';

/**
 * Opens a WebSocket to `url` with these headers, a token among them: keep it out of logs. The subprotocol
 * stands there as `Sec-WebSocket-Protocol`; clients such as `ws` want it as a parameter of its own instead.
 */
export type WebSocketFactory = (url: string, headers: Record<string, string>) => WebSocketLike;

/** The same, where a socket like those of browsers will do too. */
export type SocketFactory =
    WebSocketFactory | ((url: string, headers: Record<string, string>) => EventTargetSocketLike);

/** Who says hello: the payload of the first frame, sent as it is written. */
export interface WsHello {
    /** The instance, as it was registered. */
    readonly instance_id: string;
    /** The type of the agent. */
    readonly agent_type: string;
    /** The agent's own version. */
    readonly agent_version: string;
    /** The version of the SDK: `SDK_VERSION`. */
    readonly sdk_version: string;
    /** The A2A card. */
    readonly agent_card: object;
}

/** What a `WsTransport` is made from. Times are in milliseconds. */
export interface WsTransportOptions extends NetworkOptions {
    /** From the reply to the registration; `instance_id` is added to its query if it is missing. */
    readonly connect_url: string;
    /** Asked for a token when there is none, and again when the mesh has refused the last one. */
    readonly token_provider: () => string | PromiseLike<string>;
    /** The payload of the first frame. */
    readonly hello: WsHello;
    /** From the open WebSocket to the welcome; default 10,000. */
    readonly welcome_timeout_ms?: number | undefined;
    /** Whether a lost connection is made again; default true. */
    readonly auto_reconnect?: boolean | undefined;
    /**
     * The windows of the attempts, the last one repeated; default 3 s after a crash, 10 s after an announced
     * restart, then 4, 8, 16, 30 s.
     */
    readonly reconnect_delays_ms?: readonly number[] | undefined;
    /** Opens the WebSocket in the library's place, for test doubles and special networks. */
    readonly socket_factory?: SocketFactory | undefined;
    /** Makes the id of the first hello. Later ones are the library's own. */
    readonly uuid_impl?: (() => string) | undefined;
    /** Makes the time of the first hello, ISO 8601. Later ones are the library's own. */
    readonly now_iso?: (() => string) | undefined;
    /** The default of each operation; default 30,000. */
    readonly timeout_ms?: number | undefined;
    /** One stage of a dial; default 10,000. */
    readonly stage_timeout_ms?: number | undefined;
    /** All of an attempt, from the dial to the welcome; default 20,000. */
    readonly attempt_timeout_ms?: number | undefined;
    /** How long `token_provider` has; default 10,000. */
    readonly token_provider_timeout_ms?: number | undefined;
    /** Silence after which a ping is sent; default 10,000. */
    readonly ping_interval_ms?: number | undefined;
    /** Silence after which the connection counts as dead; default 20,000. */
    readonly dead_after_ms?: number | undefined;
    /** How long `close()` lets what is under way end. */
    readonly drain_timeout_ms?: number | undefined;
    /** The largest frame in and out; default 4,194,304 bytes. */
    readonly max_frame_bytes?: number | undefined;
}

// Every key once, which the compiler checks.
const KEYS: Record<Exclude<keyof WsTransportOptions, keyof NetworkOptions>, true> = {
    connect_url: true, token_provider: true, hello: true, welcome_timeout_ms: true, auto_reconnect: true,
    reconnect_delays_ms: true, socket_factory: true, uuid_impl: true, now_iso: true, timeout_ms: true,
    stage_timeout_ms: true, attempt_timeout_ms: true, token_provider_timeout_ms: true,
    ping_interval_ms: true, dead_after_ms: true, drain_timeout_ms: true, max_frame_bytes: true,
};

/** The configuration of `svantic_create_transport()`. Throws a `TypeError` for what is no option. */
export function transport_config(options: WsTransportOptions): Readonly<Record<string, unknown>> {
    if (typeof options !== 'object' || options === null)
        throw new TypeError('WsTransport needs an object of options');
    check_keys(Object.keys(options), [...NETWORK_KEYS, ...Object.keys(KEYS)], {});
    const { token_provider, socket_factory, uuid_impl, now_iso, logger: _, ...native } = options;
    required_text(options.connect_url, 'connect_url');
    if (typeof token_provider !== 'function') {
        throw new TypeError('token_provider must be a function that returns a token, or a promise of one');
    }
    for (const [name, value] of Object.entries({ socket_factory, uuid_impl, now_iso })) {
        if (value !== undefined && typeof value !== 'function')
            throw new TypeError(`${name} must be a function`);
    }
    return {
        ...native,
        token_provider: true,
        ...(socket_factory === undefined ? {} : { external_socket: true }),
        ...(uuid_impl === undefined ? {} : { hello_id: uuid_impl() }),
        ...(now_iso === undefined ? {} : { hello_ts: now_iso() }),
    };
}
