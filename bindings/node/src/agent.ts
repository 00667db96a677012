// The agent: who it is, what it can do, and how it runs as a whole program.
import type { Capability, CapabilityArgs, CapabilityConfig } from './capability';
import { MeshConnector, heard_failing } from './connector';
import { SvanticError } from './errors';
import { check_app, mount, type AgentApp } from './hosted/express';
import { answer_fetch } from './hosted/fetch';
import { join } from './hosted/joining';
import { listener, type AgentRequestListener } from './hosted/node_http';
import { Identity, check_identity_keys, identify, type AgentIdentity } from './identity';
import { CONNECTOR_KEYS, is_given, type MeshConnectorConfig } from './options';
import { catch_signals, has_left } from './signals';

/** Who an agent is, and how `start()` connects it. */
export interface AgentConfig extends AgentIdentity {
    /** Options of the connector that `start()` makes. */
    readonly mesh?: MeshConnectorConfig | undefined;
    /**
     * Where a hosted agent listens after `start()`, unless it is exposed on a server of the application. A
     * connected agent listens on no port.
     */
    readonly port?: number | undefined;
}

/** The options of `start()`: those of a connector, and these. */
export interface StartOptions extends MeshConnectorConfig {
    /** Ends the attempt to connect. */
    readonly signal?: AbortSignal | undefined;
    /** Whether SIGINT and SIGTERM end the agent in peace. Default: true in the main thread. */
    readonly handle_signals?: boolean | undefined;
}

/**
 * Answers a request of a server in the style of `fetch()`. `surroundings` is what the server gives beside it:
 * `@hono/node-server` the objects of `node:http`, which say whom the request came from.
 */
export type AgentFetch = (request: Request, surroundings?: unknown) => Promise<Response>;

interface Running {
    readonly connector: MeshConnector;
    readonly let_go: () => void;
}

const NO_MODEL = 'is an option of agents that run a language model, which this package does not do';
const ELSEWHERE = 'is an option of the connector: give it in "mesh"';
const REFUSED: Record<string, string> = {
    ...Object.fromEntries(CONNECTOR_KEYS.map((key) => [key, ELSEWHERE])),
    instructions: NO_MODEL,
    llm: NO_MODEL,
};

/** The options of a connector that an agent was given. */
export let mesh_of: (agent: Agent) => MeshConnectorConfig | undefined;

/** `start()` for an agent whose server may listen later; `failed` hears that the card could not be read. */
export let start_early: (
    agent: Agent,
    options: StartOptions,
    failed: (error: SvanticError) => void,
) => Promise<MeshConnector>;

/**
 * Who an agent is and what it can do. It holds no connection but the one that `start()` makes: several
 * connectors may serve one agent.
 */
export class Agent {
    readonly #identity: Identity;
    readonly #mesh: MeshConnectorConfig | undefined;
    readonly #port: number | undefined;
    #fetch: AgentFetch | undefined;
    #running: Running | undefined;

    static {
        mesh_of = (agent) => agent.#mesh ?? undefined;
        start_early = (agent, options, failed) =>
            agent.#start(options, (connector) => join(connector, failed));
    }

    /** Throws a `TypeError` for what cannot work. */
    constructor(config: AgentConfig) {
        check_identity_keys(config, ['mesh', 'port'], REFUSED);
        this.#port = checked_port(config.port);
        this.#identity = new Identity(config as unknown as Record<string, unknown>);
        this.#mesh = config.mesh;
        identify(this, this.#identity);
    }

    /** The agent's name. */
    get name(): string {
        return this.#identity.fields['name'] as string;
    }

    /** What it does, in a sentence. */
    get description(): string {
        return this.#identity.fields['description'] as string;
    }

    /** The agent's own version, if it was given. */
    get version(): string | undefined {
        return this.#identity.fields['version'] as string | undefined;
    }

    /** The type under which the mesh knows it: as it was given, else the name. */
    get agent_type(): string {
        return (this.#identity.fields['agent_type'] as string | undefined) ?? this.name;
    }

    /** The instance id, if it was given. The one in use is the connector's `instance_id`. */
    get instance_id(): string | undefined {
        return this.#identity.fields['instance_id'] as string | undefined;
    }

    /** What it can do, by name. Follows what is defined later. */
    get capabilities(): ReadonlyMap<string, Capability> {
        return this.#identity.capabilities;
    }

    /** The connector that `start()` has made, while it runs. */
    get connector(): MeshConnector | undefined {
        return this.#running?.connector;
    }

    /**
     * Adds a capability. Live connectors have it too, and announce it with `re_register()`. Throws a
     * `TypeError` for what cannot work, such as a name that is taken.
     */
    define_capability<Args extends object = CapabilityArgs>(config: CapabilityConfig<Args>): void {
        this.#identity.define(config as CapabilityConfig<never>);
    }

    /**
     * Connects, and resolves with the connector when calls can arrive. `options` win over the option `mesh`.
     *
     * SIGINT or SIGTERM then lets running calls finish and ends the agent; a second one ends the process at
     * once. When nothing else keeps the process alive it ends with status 0. If the connector gives up, the
     * process's status becomes 1 unless somebody listens to its event `failed`.
     *
     * Rejects as `MeshConnector.connect()` does.
     */
    async start(options: StartOptions = {}): Promise<MeshConnector> {
        const { signal } = options;
        return this.#start(options, (connector) => connector.connect({ signal }));
    }

    async #start(
        options: StartOptions,
        connect: (connector: MeshConnector) => Promise<void>,
    ): Promise<MeshConnector> {
        if (this.#running !== undefined) {
            throw new SvanticError(`the agent ${this.name} has been started already`, {
                status: 'INVALID_STATE',
                code: 'STARTED',
                hint: 'call stop() first',
            });
        }
        const { signal, handle_signals, ...own } = options;
        const wanted: MeshConnectorConfig = { ...own, ...this.#mesh, ...given(own) };
        const connector = new MeshConnector(this, this.#listening(wanted));
        let started = false;
        const leave = (alone: boolean) => {
            if (started) void this.#leave(running, alone);
            return started; // until then nothing runs that could be finished
        };
        const restore = handle_signals === false ? () => {} : catch_signals(leave);
        const running: Running = { connector, let_go: restore };
        this.#running = running;
        const ended = () => {
            restore();
            if (this.#running === running) this.#running = undefined;
        };
        try {
            if (wanted.local === true) signal?.throwIfAborted();
            else await connect(connector);
        } catch (error) {
            ended();
            await connector.close().catch(() => {});
            throw error;
        }
        started = true;
        connector.wait_closed().then(ended, () => {
            ended();
            // The log has said why.
            if (!heard_failing.has(connector)) process.exitCode = 1;
        });
        return connector;
    }

    /**
     * Lets running calls finish, leaves the mesh, and leaves signals to what they did before. May be called
     * again.
     */
    async stop(): Promise<void> {
        const running = this.#running;
        if (running === undefined) return;
        try {
            await running.connector.close();
        } finally {
            // Not before: a signal would cut off the calls that run, and another stop() not wait for them.
            running.let_go();
            if (this.#running === running) this.#running = undefined;
        }
    }

    async #leave(running: Running, alone: boolean): Promise<void> {
        try {
            await running.connector.close();
            // Its last answers are with the application's server.
            await this.#identity.responses.none();
        } catch {
            process.exitCode = 1; // the log has said why
        }
        running.let_go();
        has_left(alone && this.#identity.exposed);
    }

    /** With the address for `port`, where that says anything. */
    #listening(wanted: MeshConnectorConfig): MeshConnectorConfig {
        if (this.#port === undefined || this.#identity.exposed || is_given(wanted.listen)) return wanted;
        const public_url = wanted.public_url ?? this.#identity.fields['public_url'];
        const mode = wanted.deployment_mode ?? (public_url || wanted.local ? 'hosted' : 'connected');
        if (mode !== 'hosted') return wanted;
        return { ...wanted, listen: `${interface_for(public_url)}:${this.#port}` };
    }

    // Requests by HTTP

    /**
     * Mounts the agent's card and its endpoint on an app or a router of Express: GET
     * `/.well-known/agent-card.json` and POST `endpoint_path` (default: the option of that name, else what is
     * told already, else `/send`). Behind `express.json()` or before it, which is better: the body is then
     * verified as it came.
     *
     * Requests are answered by the latest connector that is not closed; before there is one they get 503. It
     * has to be made afterwards if `endpoint_path` is given. Throws a `TypeError` for what cannot work.
     */
    expose(app: AgentApp, endpoint_path?: string): void {
        const checked = check_app(app);
        const path = this.#identity.mount(endpoint_path ?? this.#mesh?.endpoint_path);
        mount(checked, path, this.#identity, this.#identity.responses);
    }

    /**
     * A handler `(request, response)` for `node:http` and for frameworks that hand out its objects: it
     * answers what {@link expose} would, below the path of `public_url` or without that, and everything else
     * with 404. With a third argument, `next`, it hands that on instead.
     */
    request_listener(): AgentRequestListener {
        this.#identity.expose();
        return listener(this.#identity, this.#identity.responses);
    }

    /**
     * The same for servers in the style of `fetch()`, such as Hono's: `(request) => Promise<Response>`. It
     * needs no `this`, and its promise never rejects.
     */
    get fetch(): AgentFetch {
        this.#identity.expose();
        return (this.#fetch ??= (request, surroundings) =>
            answer_fetch(this.#identity, this.#identity.responses, request, surroundings));
    }
}

function checked_port(port: unknown): number | undefined {
    if (port === undefined || port === null) return undefined;
    if (typeof port === 'number' && Number.isInteger(port) && port >= 0 && port <= 0xffff) return port;
    const what = typeof port === 'number' ? `${port}` : `of type ${typeof port}`;
    throw new TypeError(`port is ${what}, and must be a number from 0 to 65535`);
}

/** Others reach it from other machines, unless its URL is of this one, or it has none. */
function interface_for(public_url: unknown): string {
    const is_url = typeof public_url === 'string' && URL.canParse(public_url);
    const host = is_url ? new URL(public_url).hostname : '';
    if (host === '[::1]') return host;
    return host === '' || host === 'localhost' || host.startsWith('127.') ? '127.0.0.1' : '0.0.0.0';
}

/** Without what says nothing, and would hide what the option `mesh` says. */
function given(options: MeshConnectorConfig): MeshConnectorConfig {
    return Object.fromEntries(Object.entries(options).filter(([, value]) => is_given(value)));
}
