// One task on a handle of its own: for programs that use the mesh's endpoints one by one.
import { line_of } from '../event_lines';
import { Log } from '../logger';
import { NativeMesh } from '../native_mesh';
import type { MeshConnectorConfig } from '../options';
import { Session } from '../session';

/** How the mesh is reached: as for a connector. */
export type NetworkOptions = Pick<
    MeshConnectorConfig,
    | 'ca_file'
    | 'client_cert_file'
    | 'client_key_file'
    | 'proxy'
    | 'allow_insecure'
    | 'http_timeout_ms'
    | 'fail_fast'
    | 'logger'
>;

// Every key once, which the compiler checks.
const KEYS: Record<keyof NetworkOptions, true> = {
    ca_file: true, client_cert_file: true, client_key_file: true, proxy: true, allow_insecure: true,
    http_timeout_ms: true, fail_fast: true, logger: true,
};

/** The keys of {@link NetworkOptions}. */
export const NETWORK_KEYS: readonly string[] = Object.keys(KEYS);

/**
 * Who calls, where that is no agent. The instance id is one of its own, so that it takes nobody's place among
 * the agents of this process.
 */
export function caller(name: string, does: string, instance_id: string): Readonly<Record<string, string>> {
    return { name, description: `A program that ${does}`, instance_id };
}

/**
 * Creates a handle, does `task` with it, and lets go of it. The process stays for that long.
 *
 * The end of the lifeline frees the handle in the background, so nothing here waits for what was aborted.
 */
export async function single_call<Result>(
    config: Readonly<Record<string, unknown>>,
    logger: unknown,
    task: (session: Session) => Promise<Result>,
): Promise<Result> {
    const log = new Log(logger);
    const session = new Session(NativeMesh.create(config));
    session.hooks = {
        on_event(event) {
            const line = line_of(event);
            if (line !== undefined) log.say(line[0], line[1]);
        },
        on_end() {},
    };
    try {
        return await task(session);
    } finally {
        session.resources.release();
    }
}

/**
 * Throws a `TypeError` unless it is a string that says something. The value may be a secret, and is not
 * shown.
 */
export function required_text(value: unknown, what: string): string {
    if (typeof value !== 'string')
        throw new TypeError(`${what} is of type ${typeof value}, and must be a string`);
    if (value === '') throw new TypeError(`${what} is empty`);
    return value;
}
