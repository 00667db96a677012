// What a connector says about itself, now and when it has ended.
import type { NativeMesh } from './native_mesh';

/** Whether a connector lives, and whether work can arrive. */
export interface Health {
    /** The library's thread runs and is on time. */
    readonly live: boolean;
    /** Dispatches can arrive and are picked up. */
    readonly ready: boolean;
    /** A sentence, when not ready. */
    readonly reason: string | null;
}

/** What is worth knowing when looking for a fault; the C header's `svantic_get_snapshot` lists the keys. */
export interface MeshSnapshot {
    readonly health: Health;
    readonly counters: Readonly<Record<string, number | Readonly<Record<string, number>>>>;
    readonly [key: string]: unknown;
}

/** Where the WebSocket is. */
export type WsTransportState =
    'disconnected' | 'connecting' | 'authenticating' | 'ready' | 'closing' | 'closed';

/** How a connector's WebSocket is, as of the moment when it was asked for. */
export interface MeshTransport {
    readonly state: WsTransportState;
    /** The number of the open connection, counted from 1; `null` when there is none. */
    readonly connection: number | null;
    /** Failed attempts since the last connection. */
    readonly attempts: number;
}

const WORDS: ReadonlyMap<unknown, WsTransportState> = new Map<string, WsTransportState>([
    ['idle', 'disconnected'],
    ['authenticating', 'authenticating'],
    ['registering', 'authenticating'],
    ['dialing', 'connecting'],
    ['handshaking', 'connecting'],
    ['ready', 'ready'],
    ['suspect', 'ready'],
    ['closing', 'closing'],
    ['closed', 'closed'],
    ['failed', 'closed'],
]);

/** The WebSocket in a snapshot. */
export function transport_state(snapshot: MeshSnapshot): MeshTransport {
    const connection = snapshot['connection'] as { no?: number } | null | undefined;
    return {
        state: WORDS.get(snapshot['link']) ?? 'disconnected',
        connection: connection?.no ?? null,
        attempts: (snapshot['backoff_attempts'] as number | null | undefined) ?? 0,
    };
}

const TEXTS = ['svantic_url', 'deployment_mode', 'instance_id', 'agent_card', 'snapshot'] as const;

/** What is left of a connector whose handle is freed. */
export class Remains {
    readonly #state: 'closed' | 'failed';
    readonly #texts = new Map<string, string>();

    /** Reads it from a handle that is about to be freed, or has been freed elsewhere. */
    constructor(native: NativeMesh, failed: boolean) {
        this.#state = failed ? 'failed' : 'closed';
        for (const name of TEXTS) {
            try {
                this.#texts.set(name, native.text(name));
            } catch {
                // Ended with all others of the process, which leaves nothing.
            }
        }
    }

    state(): 'closed' | 'failed' {
        return this.#state;
    }

    connected(): boolean {
        return false;
    }

    token(): undefined {
        return undefined;
    }

    text(name: (typeof TEXTS)[number]): string {
        const none = name === 'agent_card' || name === 'snapshot' ? '{"health":{},"counters":{}}' : '';
        return this.#texts.get(name) ?? none;
    }
}
