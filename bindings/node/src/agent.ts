// The agent: who it is, what it can do, and how it runs as a whole program.
import type { Capability, CapabilityArgs, CapabilityConfig } from './capability';
import { MeshConnector, heard_failing } from './connector';
import { SvanticError } from './errors';
import { Identity, check_identity_keys, identify, type AgentIdentity } from './identity';
import { CONNECTOR_KEYS, type MeshConnectorConfig } from './options';
import { catch_signals } from './signals';

/** Who an agent is, and how `start()` connects it. */
export interface AgentConfig extends AgentIdentity {
    /** Options of the connector that `start()` makes. */
    readonly mesh?: MeshConnectorConfig | undefined;
    /** Ignored: a connected agent listens on no port. Refused for a hosted one, which would. */
    readonly port?: number | undefined;
}

/** The options of `start()`: those of a connector, and these. */
export interface StartOptions extends MeshConnectorConfig {
    /** Ends the attempt to connect. */
    readonly signal?: AbortSignal | undefined;
    /** Whether SIGINT and SIGTERM end the agent in peace. Default: true in the main thread. */
    readonly handle_signals?: boolean | undefined;
}

const NO_MODEL = 'is an option of agents that run a language model, which this package does not do';
const ELSEWHERE = 'is an option of the connector: give it in "mesh"';
const REFUSED: Record<string, string> = {
    ...Object.fromEntries(CONNECTOR_KEYS.map((key) => [key, ELSEWHERE])),
    instructions: NO_MODEL,
    llm: NO_MODEL,
};
const NOT_SERVED = 'is for an agent that is called by HTTP, which this package does not serve yet; leave it out';

/**
 * Who an agent is and what it can do. It holds no connection but the one that `start()` makes: several
 * connectors may serve one agent.
 */
export class Agent {
    readonly #identity: Identity;
    readonly #mesh: MeshConnectorConfig | undefined;
    #running: { readonly connector: MeshConnector; readonly let_go: () => void } | undefined;

    /** Throws a `TypeError` for what cannot work. */
    constructor(config: AgentConfig) {
        check_identity_keys(config, ['mesh', 'port'], REFUSED);
        if (config.port !== undefined && config.port !== null && is_hosted(config)) {
            throw new TypeError(`"port" ${NOT_SERVED}`);
        }
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
        if (this.#running !== undefined) {
            throw new SvanticError(`the agent ${this.name} has been started already`, {
                status: 'INVALID_STATE',
                code: 'STARTED',
                hint: 'call stop() first',
            });
        }
        const { signal, handle_signals, ...own } = options;
        const connector = new MeshConnector(this, { ...own, ...this.#mesh, ...given(own) });
        let started = false;
        const leave = () => {
            if (started) this.#leave(connector);
            return started; // until then nothing runs that could be finished
        };
        const restore = handle_signals === false ? () => {} : catch_signals(leave);
        const running = { connector, let_go: restore };
        this.#running = running;
        const ended = () => {
            restore();
            if (this.#running === running) this.#running = undefined;
        };
        try {
            await connector.connect({ signal });
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

    #leave(connector: MeshConnector): void {
        connector.close().catch(() => {
            process.exitCode = 1; // the log has said why
        });
    }
}

function is_hosted({ public_url, mesh }: AgentConfig): boolean {
    const mode = mesh?.deployment_mode;
    if (mode !== undefined && mode !== null) return mode === 'hosted';
    return Boolean(public_url ?? mesh?.public_url);
}

/** Without what says nothing, and would hide what the option `mesh` says. */
function given(options: MeshConnectorConfig): MeshConnectorConfig {
    return Object.fromEntries(
        Object.entries(options).filter(([, value]) => value !== undefined && value !== null),
    );
}
