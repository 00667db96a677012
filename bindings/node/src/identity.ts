// Who an agent is and what it can do, as its connectors know it.
import { Capability, type CapabilityConfig } from './capability';
import { SvanticError } from './errors';
import {
    CARD_PATH,
    DEFAULT_ENDPOINT_PATH,
    unavailable,
    type Answering,
    type HostedRequest,
    type Respond,
    type Targets,
} from './hosted/exchange';
import { OpenResponses } from './hosted/node_http';
import { check_keys, is_given } from './options';

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

// Every key once, which the compiler checks.
const KEYS: Record<keyof AgentIdentity, true> = {
    name: true, description: true, version: true, agent_type: true, instance_id: true, public_url: true,
    context: true, learning: true, mcp_servers: true, max_concurrent_sessions: true,
};

/** The keys of an {@link AgentIdentity}. */
export const IDENTITY_KEYS: readonly string[] = Object.keys(KEYS);

/** A connector, as an agent knows it. */
export interface Announcer {
    /** Whether it can be given capabilities. */
    readonly open: boolean;
    /** The path of the URL that it tells, if it tells one. */
    readonly prefix: string | undefined;
    /** Where it says that calls are POSTed. */
    readonly endpoint_path: string;
    /** Takes a capability, or throws. */
    add(capability: Capability): void;
    /** As in {@link Answering}; throws when it cannot. */
    serve(request: HostedRequest, respond: Respond): () => void;
}

/** The inside of an agent. Holds no connector: those that are dropped can be collected. */
export class Identity implements Answering {
    readonly fields: Readonly<Record<string, unknown>>;
    readonly capabilities = new Map<string, Capability>();
    /** What the application's server is writing. */
    readonly responses = new OpenResponses();
    /** The path of its own `public_url`. */
    readonly #prefix: string;
    #exposed = false;
    #endpoint_path: string | undefined;
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
        const given = IDENTITY_KEYS.filter((key) => is_given(config[key]));
        this.fields = Object.fromEntries(given.map((key) => [key, config[key]]));
        this.#prefix = path_of(this.fields['public_url']) ?? '';
    }

    /** Adds a capability, also to live connectors. All or none of them have it. */
    define(config: CapabilityConfig<never>): void {
        const capability = new Capability(config);
        if (this.capabilities.has(capability.name)) {
            throw new TypeError(`the agent has a capability ${JSON.stringify(capability.name)} already`);
        }
        for (const announcer of this.#live()) announcer.add(capability);
        this.capabilities.set(capability.name, capability);
    }

    /** What its connectors are configured with. */
    get configuration(): Readonly<Record<string, unknown>> {
        const endpoint_path = this.#endpoint_path;
        return endpoint_path === undefined ? this.fields : { ...this.fields, endpoint_path };
    }

    /** Gives a new connector what is defined by now, and later what will be. */
    attach(connector: object, announcer: Announcer): void {
        this.#check_endpoint(announcer, this.#endpoint_path);
        for (const capability of this.capabilities.values()) announcer.add(capability);
        this.#of_connectors.set(connector, announcer);
        this.#announcers.push(new WeakRef(announcer));
    }

    #live(): Announcer[] {
        this.#announcers = this.#announcers.filter((announcer) => announcer.deref() !== undefined);
        const announcers = this.#announcers.map((weak) => weak.deref());
        return announcers.filter((announcer) => announcer?.open) as Announcer[];
    }

    // Requests by HTTP

    /** Whether the application's server may have requests for it. */
    get exposed(): boolean {
        return this.#exposed;
    }

    /** Says that the application's server will have requests for it. */
    expose(): void {
        this.#exposed = true;
    }

    /**
     * Says where calls are POSTed, and returns that: a path of the application's choice, or the one that is
     * told already. Throws a `TypeError` when a connector tells another one.
     */
    mount(endpoint_path: unknown): string {
        const live = this.#live();
        const chosen = endpoint_path ?? this.#endpoint_path ?? live.at(-1)?.endpoint_path;
        const path = chosen ?? DEFAULT_ENDPOINT_PATH;
        if (typeof path !== 'string' || !path.startsWith('/')) {
            throw new TypeError('endpoint_path must be a path such as "/send"');
        }
        for (const announcer of live) this.#check_endpoint(announcer, path);
        this.#endpoint_path = path;
        this.expose();
        return path;
    }

    #check_endpoint({ endpoint_path }: Announcer, mounted: string | undefined): void {
        if (mounted === undefined || endpoint_path === mounted) return;
        throw new TypeError(
            `expose() mounts ${mounted}, and a connector of the agent tells ${endpoint_path} to the mesh; ` +
                'call expose() first, and give the connector no other endpoint_path',
        );
    }

    targets(): Targets {
        const live = this.#live();
        const endpoints = live.map(({ endpoint_path }) => endpoint_path);
        return {
            prefixes: [this.#prefix, ...live.map(({ prefix }) => prefix ?? '')],
            paths: [CARD_PATH, this.#endpoint_path ?? DEFAULT_ENDPOINT_PATH, ...endpoints],
        };
    }

    serve(request: HostedRequest, respond: Respond): () => void {
        let why = 'the agent has no connector that could answer';
        for (const announcer of this.#live().reverse()) {
            try {
                return announcer.serve(request, respond);
            } catch (error) {
                // An older connector may do. What else can fail has been logged.
                if (error instanceof SvanticError && error.code === 'NOT_HOSTED') {
                    why = 'the agent takes its calls over a WebSocket, since it has no public_url';
                }
            }
        }
        respond(unavailable(why));
        return () => {};
    }
}

/** The path of a URL, without the slash at its end. */
export function path_of(url: unknown): string | undefined {
    return typeof url === 'string' && URL.canParse(url)
        ? new URL(url).pathname.replace(/\/+$/, '')
        : undefined;
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
