// How an agent on the application's server joins a mesh that reads its card first.
import { setTimeout as pause } from 'node:timers/promises';
import type { MeshConnector } from '../connector';
import { SvanticError } from '../errors';

/** Before the second attempt and those after it; the last one from then on. */
const PAUSES_MS = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000];
/** What the mesh says when it cannot read the card. */
const BAD_GATEWAY = 502;

/**
 * Connects, and tries again while the mesh cannot read the card: the server may not listen yet. The library
 * does not, since with a server that listens it is mostly a wrong URL. Rejects as `connect()` does for every
 * other reason, and when the connector is closed meanwhile.
 */
export async function join(connector: MeshConnector, failed: (error: SvanticError) => void): Promise<void> {
    const over = new AbortController();
    const ends = () => over.abort();
    connector.wait_closed().then(ends, ends);
    for (let attempts = 0; ; attempts += 1) {
        try {
            return await connector.connect();
        } catch (error) {
            if (!(error instanceof SvanticError) || error.http_status !== BAD_GATEWAY) throw error;
            failed(error);
        }
        const ms = PAUSES_MS[Math.min(attempts, PAUSES_MS.length - 1)];
        // What keeps the process is the server, or what comes before it.
        await pause(ms, undefined, { ref: false, signal: over.signal }).catch(() => {});
    }
}
