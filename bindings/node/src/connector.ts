// The connector: an agent's place in the mesh.
import { EventEmitter } from 'node:events';
import { inspect, type InspectOptions } from 'node:util';
import type { Agent } from './agent';
import type { Capability } from './capability';
import { SvanticError } from './errors';
import { line_of } from './event_lines';
import { EventStream, type MeshEvent, type MeshEventName, type MeshEvents } from './events';
import { call_listeners } from './guarded';
import { DEFAULT_ENDPOINT_PATH, type HostedRequest, type Respond } from './hosted/exchange';
import { identity_of, path_of } from './identity';
import type { Log } from './logger';
import { NativeMesh, type ConnectorState } from './native_mesh';
import { Options, type DeploymentMode, type MeshConnectorConfig } from './options';
import { Serving } from './serving';
import type { OperationOptions } from './operation';
import { Session, forgotten } from './session';
import { Remains, transport_state, type Health, type MeshSnapshot, type MeshTransport } from './snapshot';

/** Every event with what its listeners are called with; `event` stands for all of them. */
export type MeshEventMap = { [Name in MeshEventName]: [data: MeshEvents[Name]] } & {
    event: [event: MeshEvent];
};

/** Connectors that gave up while somebody listened for that: afterwards a `once()` is not seen any more. */
export const heard_failing = new WeakSet<MeshConnector>();

/**
 * Connects an agent to the mesh and runs its handlers on this thread's loop.
 *
 * It keeps the process alive from `connect()` until it has ended, and so it stays when nobody holds it.
 * Handlers, listeners and promises are of the thread that made it; each worker makes its own.
 *
 * Events have the library's names: `mesh.on('backoff', ({delay_ms}) => …)`; `'event'` gets all of them as
 * `{name, code, data}`. A listener that throws, or whose promise rejects, is logged.
 *
 * Every method that returns a promise takes `{timeout_ms, signal}` last. It rejects with a `SvanticError`, or
 * with the signal's reason when that ends it.
 */
export class MeshConnector extends EventEmitter<MeshEventMap> {
    readonly #agent: Agent;
    readonly #log: Log;
    readonly #session: Session;
    readonly #token_provider: (() => unknown) | undefined;
    readonly #streams = new Set<EventStream>();
    readonly #waiters = new Set<() => void>();
    #remains: Remains | undefined;

    /** Opens no connection. Throws a `TypeError` or a `SvanticError` for what cannot work. */
    constructor(agent: Agent, config?: MeshConnectorConfig) {
        super();
        const identity = identity_of(agent);
        const options = new Options(identity.configuration, config);
        const native = NativeMesh.create(options.config);
        const serving = new Serving(native, options.log, options.redact);
        this.#agent = agent;
        this.#log = options.log;
        this.#token_provider = options.token_provider;
        this.#session = new Session(native, serving);
        this.#session.hooks = {
            on_event: (event) => this.#on_event(event),
            on_end: () => this.#on_end(),
        };
        const { endpoint_path, public_url, local, listen } = options.config;
        try {
            const session = this.#session;
            identity.attach(this, {
                prefix: path_of(public_url),
                endpoint_path: String(endpoint_path ?? DEFAULT_ENDPOINT_PATH),
                get open() {
                    return !session.ended && !['closed', 'failed'].includes(native.state());
                },
                add(capability: Capability) {
                    const take_back = serving.add(capability); // first: a dispatch may come at once
                    try {
                        native.define_capability(capability.spec());
                    } catch (error) {
                        take_back();
                        throw error;
                    }
                },
                serve: (request: HostedRequest, respond: Respond) => {
                    try {
                        return session.serve(request, respond);
                    } catch (error) {
                        const is_known = error instanceof SvanticError && error.status === 'INVALID_STATE';
                        if (!is_known) {
                            options.log.say('error', `agent ${agent.name}: a request is not served`, error);
                        }
                        throw error;
                    }
                },
            });
            // There will be no connect() that it could begin with.
            if (local === true) session.stand(listen !== undefined);
        } catch (error) {
            native.free();
            throw error;
        }
        forgotten.register(this, this.#session.resources, this.#session);
    }

    // Operations

    /**
     * Gets a token, registers the agent and opens the WebSocket; a lost connection then comes back by itself.
     *
     * Passing failures are retried for `timeout_ms` (default: the option of that name). Rejects with the
     * status `AUTH`, `REMOTE`, `NETWORK`, `TLS`, `TIMEOUT`, `PROTOCOL`, or `INVALID_STATE` when already
     * connected or ended.
     */
    connect(options?: OperationOptions): Promise<void> {
        return this.#session.run((native, ms, tag) => native.connect(ms, tag), options).then(nothing);
    }

    /**
     * Lets running calls finish for `timeout_ms` (default: the option `drain_timeout_ms`), answers the rest
     * with `AGENT_SHUTDOWN`, and leaves the mesh. Final. A handler that awaits it waits for itself until that
     * time is over.
     *
     * The signal ends the wait for running calls; the farewell goes on. Rejects with `INVALID_STATE` when it
     * has ended already; see {@link close}.
     */
    disconnect(options?: OperationOptions): Promise<void> {
        return this.#session.run((native, ms, tag) => native.disconnect(ms, tag), options).then(nothing);
    }

    /** Announces today's capabilities to the mesh. Rejects as {@link connect} does. */
    re_register(options?: OperationOptions): Promise<void> {
        return this.#session.run((native, ms, tag) => native.re_register(ms, tag), options).then(nothing);
    }

    /**
     * Replaces the token without a reconnect: by `jwt`, or by a new one for the credentials.
     *
     * Rejects with the status `AUTH` for a `jwt` that is of no use.
     */
    async refresh_token(jwt?: string, options?: OperationOptions): Promise<void> {
        if (jwt === undefined || jwt === null) {
            await this.#session.run((native, ms, tag) => native.refresh_token(ms, tag), options);
            return;
        }
        options?.signal?.throwIfAborted();
        this.#session.check_open();
        this.#session.native.give_token(jwt);
    }

    /**
     * Opens a session with the mesh and resolves with its id. `options` are sent along, such as `{user_id:
     * 'u1'}`.
     */
    async create_session(options?: object, operation?: OperationOptions): Promise<string> {
        const reply = await this.#session.run<{ session_id: string }>(
            (native, ms, tag) => native.create_session(options, ms, tag),
            operation,
        );
        return reply.session_id;
    }

    /** Closes a session. Rejects with the status `NOT_FOUND` when the mesh knows no such session. */
    close_session(session_id: string, options?: OperationOptions): Promise<void> {
        return this.#session
            .run((native, ms, tag) => native.close_session(session_id, ms, tag), options)
            .then(nothing);
    }

    /**
     * Disconnects if that is still to be done, and resolves when everything has ended. May be called again:
     * it then waits for what is under way, or ends it when it is given a `timeout_ms`.
     */
    async close(options?: OperationOptions): Promise<void> {
        const session = this.#session;
        if (session.ended) return;
        const state = session.native.state();
        // A second disconnect would wait for no call any more.
        const is_leaving = state === 'draining' && options?.timeout_ms === undefined;
        if (state !== 'closed' && state !== 'failed' && !is_leaving) {
            try {
                await this.disconnect(options);
            } catch (error) {
                // It has ended meanwhile, which is all that was wanted.
                if (!(error instanceof SvanticError && error.code === 'CLOSED')) throw error;
            }
        }
        await this.#end_of_items(options?.signal);
    }

    /** {@link close}, for `await using`. */
    [Symbol.asyncDispose](): Promise<void> {
        return this.close();
    }

    /**
     * Waits until the connector has ended: resolves after a disconnect, rejects with what ended it otherwise.
     * It does not keep the process alive by itself.
     */
    async wait_closed(options?: { readonly signal?: AbortSignal | undefined }): Promise<void> {
        options?.signal?.throwIfAborted();
        await this.#end_of_items(options?.signal);
        if (this.#session.failure !== undefined) throw this.#session.failure;
    }

    #end_of_items(signal: AbortSignal | undefined): Promise<void> {
        if (this.#session.ended) return Promise.resolve();
        return new Promise((resolve, reject) => {
            const done = () => {
                signal?.removeEventListener('abort', abort);
                resolve();
            };
            const abort = () => {
                this.#waiters.delete(done);
                reject(signal?.reason);
            };
            if (signal?.aborted) {
                reject(signal.reason);
                return;
            }
            signal?.addEventListener('abort', abort, { once: true });
            this.#waiters.add(done);
        });
    }

    /** Lets the process end although it is connected. */
    unref(): this {
        this.#session.keep_alive = false;
        return this;
    }

    /** Keeps the process alive again. */
    ref(): this {
        this.#session.keep_alive = true;
        return this;
    }

    /**
     * Says that the network may be another, such as after a VPN came up. Never needed: it only saves time.
     */
    network_changed(): void {
        if (this.#session.native.state() !== 'closed') this.#session.native.network_changed();
    }

    // Properties

    /** The agent that this connector speaks for. */
    get agent(): Agent {
        return this.#agent;
    }

    /** Where the connector is. */
    get state(): ConnectorState {
        return this.#now.state();
    }

    /** Whether a registration is active. During an outage it stays true. */
    get connected(): boolean {
        return this.#now.connected();
    }

    /** The mesh's base URL. */
    get svantic_url(): string {
        return this.#now.text('svantic_url');
    }

    /** The JWT in use, a secret; `undefined` while there is none. */
    get token(): string | undefined {
        return this.#now.token();
    }

    /** `"connected"` or `"hosted"`. */
    get deployment_mode(): DeploymentMode {
        return this.#now.text('deployment_mode') as DeploymentMode;
    }

    /** The id of this instance, given or generated. */
    get instance_id(): string {
        return this.#now.text('instance_id');
    }

    /** The A2A agent card with today's capabilities. */
    get agent_card(): Record<string, unknown> {
        return JSON.parse(this.#now.text('agent_card')) as Record<string, unknown>;
    }

    /** Counters since the connector was made. */
    get stats(): MeshSnapshot['counters'] {
        return this.snapshot().counters;
    }

    /** Whether the connector lives, and whether work can arrive. */
    get health(): Health {
        return this.snapshot().health;
    }

    /** How the WebSocket is now. */
    get ws_transport(): MeshTransport {
        return transport_state(this.snapshot());
    }

    /** What is worth knowing when looking for a fault, without secrets. More keys may come. */
    snapshot(): MeshSnapshot {
        return JSON.parse(this.#now.text('snapshot')) as MeshSnapshot;
    }

    /** What `JSON.stringify()` writes: who it is and how it is, and no secret. */
    toJSON(): { agent: string; instance_id: string; state: ConnectorState; connected: boolean } {
        const { agent, instance_id, state, connected } = this;
        return { agent: agent.name, instance_id, state, connected };
    }

    /** What `console.log()` shows: the same. Without it the token would be read where getters are shown. */
    [inspect.custom](_depth: number, options: InspectOptions): string {
        return `MeshConnector ${inspect(this.toJSON(), options)}`;
    }

    /** The handle, or what was read of it when it ended. */
    get #now(): Pick<NativeMesh, 'state' | 'connected' | 'token' | 'text'> {
        if (this.#remains !== undefined) return this.#remains;
        const { native } = this.#session;
        // It may be gone without a last item: all are freed before the program's own 'exit' listeners run.
        return native.state() === 'closed' ? new Remains(native, false) : native;
    }

    // Events

    /** The events from now on, for `for await`; ends with the connector and with `signal`. */
    events(options?: { readonly signal?: AbortSignal | undefined }): EventStream {
        const stream = new EventStream((ended) => this.#streams.delete(ended), options?.signal);
        if (this.#session.ended || options?.signal?.aborted) stream.end();
        else this.#streams.add(stream);
        return stream;
    }

    /** {@link events}. */
    [Symbol.asyncIterator](): EventStream {
        return this.events();
    }

    #on_event(event: MeshEvent): void {
        if (event.name === 'token_wanted' && this.#token_provider !== undefined) void this.#give_token();
        if (event.name === 'failed' && this.listenerCount('failed') > 0) heard_failing.add(this);
        const line = line_of(event);
        if (line !== undefined) this.#log.say(line[0], `agent ${this.#agent.name}: ${line[1]}`);
        for (const stream of this.#streams) stream.push(event);
        this.#call(event.name, event.data);
        this.#call('event', event);
    }

    #call(name: MeshEventName | 'event', data: unknown): void {
        call_listeners(this, name, data, (error) => {
            this.#log.say('error', `a listener of the event ${name} failed`, error);
        });
    }

    async #give_token(): Promise<void> {
        try {
            const token = await this.#token_provider?.();
            if (!this.#session.ended) this.#session.native.give_token(token as string);
        } catch (error) {
            const { state } = this;
            if (state === 'draining' || state === 'closed' || state === 'failed') return; // nobody wants one
            this.#log.say('error', `agent ${this.#agent.name}: no token came from token_provider`, error);
        }
    }

    #on_end(): void {
        forgotten.unregister(this.#session);
        this.#remains = new Remains(this.#session.native, this.#session.failure !== undefined);
        for (const stream of this.#streams) stream.end();
        for (const done of this.#waiters) done();
        this.#waiters.clear();
    }
}

function nothing(): void {}
