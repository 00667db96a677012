// Who an agent is and what it can do, as its connectors know it.
import { Capability, type CapabilityConfig } from './capability';
import { check_keys } from './options';

/** What an agent is, as the mesh is told. */
export interface AgentIdentity {
    /** The agent's name. */
    readonly name: string;
    /** What it does, in a sentence. */
    readonly description: string;
    /** The agent's own version; default `1.0.0`. */
    readonly version?: string | undefined;
    /** The type under which the mesh knows it; default: the name. */
    readonly agent_type?: string | undefined;
    /** This process among all of its type; default: `SVANTIC_INSTANCE_ID`, else host name and process id. */
    readonly instance_id?: string | undefined;
    /** Where a hosted agent is reached: an https URL. */
    readonly public_url?: string | undefined;
    /** Live metadata on the agent card. */
    readonly context?: object | undefined;
    /** Passed on at registration. */
    readonly learning?: object | undefined;
    /** Passed on at registration. */
    readonly mcp_servers?: object | undefined;
    /**
     * Told to the mesh, and the number of calls that run at once unless `max_in_flight` says more; 0 is no
     * limit.
     */
    readonly max_concurrent_sessions?: number | undefined;
}

/** The keys of an {@link AgentIdentity}. */
export const IDENTITY_KEYS = [
    'name',
    'description',
    'version',
    'agent_type',
    'instance_id',
    'public_url',
    'context',
    'learning',
    'mcp_servers',
    'max_concurrent_sessions',
] as const;

/** A connector, as an agent knows it. */
export interface Announcer {
    /** Whether it can be given capabilities. */
    readonly open: boolean;
    /** Takes a capability, or throws. */
    add(capability: Capability): void;
}

/** The inside of an agent. Holds no connector: those that are dropped can be collected. */
export class Identity {
    readonly fields: Readonly<Record<string, unknown>>;
    readonly capabilities = new Map<string, Capability>();
    #announcers: WeakRef<Announcer>[] = [];
    /** An announcer lives as long as its connector. */
    readonly #of_connectors = new WeakMap<object, Announcer>();

    /** Throws a `TypeError` for what cannot work. */
    constructor(config: Readonly<Record<string, unknown>>) {
        for (const key of ['name', 'description']) {
            if (typeof config[key] !== 'string' || config[key] === '') {
                throw new TypeError(`an Agent needs a ${key}, which is a text`);
            }
        }
        const given = IDENTITY_KEYS.filter((key) => config[key] !== undefined && config[key] !== null);
        this.fields = Object.fromEntries(given.map((key) => [key, config[key]]));
    }

    /** Adds a capability, also to live connectors. All or none of them have it. */
    define(config: CapabilityConfig<never>): void {
        const capability = new Capability(config);
        if (this.capabilities.has(capability.name)) {
            throw new TypeError(`the agent has a capability ${JSON.stringify(capability.name)} already`);
        }
        this.#announcers = this.#announcers.filter((announcer) => announcer.deref() !== undefined);
        for (const announcer of this.#announcers.map((weak) => weak.deref())) {
            if (announcer?.open) announcer.add(capability);
        }
        this.capabilities.set(capability.name, capability);
    }

    /** Gives a new connector what is defined by now, and later what will be. */
    attach(connector: object, announcer: Announcer): void {
        for (const capability of this.capabilities.values()) announcer.add(capability);
        this.#of_connectors.set(connector, announcer);
        this.#announcers.push(new WeakRef(announcer));
    }
}

const identities = new WeakMap<object, Identity>();

/** Makes `agent` an agent. */
export function identify(agent: object, identity: Identity): void {
    identities.set(agent, identity);
}

/** The inside of an agent. Throws a `TypeError` for what is none. */
export function identity_of(agent: unknown): Identity {
    const identity = typeof agent === 'object' && agent !== null ? identities.get(agent) : undefined;
    if (identity === undefined)
        throw new TypeError('agent must be an Agent of this package: new Agent({name, …})');
    return identity;
}

/** The keys of an agent's configuration, checked. */
export function check_identity_keys(
    config: unknown,
    more: readonly string[],
    refused: Record<string, string>,
): void {
    if (config === null || typeof config !== 'object') {
        throw new TypeError('new Agent() takes an object: {name, description, …}');
    }
    check_keys(Object.keys(config), [...IDENTITY_KEYS, ...more], refused);
}
