// The one call that puts an agent on an Express app and on the mesh.
import { mesh_of, start_early, type Agent } from './agent';
import type { MeshConnector } from './connector';
import type { AgentApp } from './hosted/express';
import { Log } from './logger';
import type { MeshConnectorConfig } from './options';

/** What `attach()` attaches. */
export interface AttachConfig {
    /** The agent, with its capabilities. */
    readonly agent: Agent;
    /** Options of its connector. Without them, and without those of the agent, there is no mesh: `local`. */
    readonly mesh?: MeshConnectorConfig | undefined;
    /** Where calls are POSTed; default: the option of that name, else what is told already, else `/send`. */
    readonly endpoint_path?: string | undefined;
}

/** An agent that is attached. */
export interface AgentHandle {
    readonly agent: Agent;
    /** Its connector. */
    readonly mesh: MeshConnector;
    /**
     * Resolves when the agent is on the mesh, which asks a hosted one for its card before: not until the app
     * listens, and until then it is asked again. Rejects as `MeshConnector.connect()` does; unless it was
     * detached that is also logged, and the process's status becomes 1.
     */
    readonly ready: Promise<void>;
    /** Lets running calls finish and leaves the mesh. The app then answers with 503. */
    detach(): Promise<void>;
}

/**
 * Mounts the agent on an app or a router of Express as `agent.expose()` does, and starts it as
 * `agent.start()` does, so that SIGINT and SIGTERM let running calls finish.
 *
 * Resolves when a connected agent is connected, and rejects when it cannot be; with a hosted one at once,
 * since the app is to listen first: see `AgentHandle.ready`.
 */
export async function attach(app: AgentApp, config: AttachConfig): Promise<AgentHandle> {
    const { agent, mesh, endpoint_path } = config;
    agent.expose(app, endpoint_path ?? mesh?.endpoint_path);
    const is_running = agent.connector !== undefined; // then it cannot be started
    const log = new Log(mesh?.logger ?? mesh_of(agent)?.logger ?? undefined);
    let detached = false;
    const options = mesh ?? (mesh_of(agent) === undefined ? { local: true } : {});
    const started = start_early(agent, options, (error) => {
        log.say('warn', `agent ${agent.name} is not on the mesh yet: ${error.message}`);
    });
    const connector = agent.connector;
    if (is_running || connector?.deployment_mode !== 'hosted') await started;
    const ready = started.then(() => {});
    ready.catch((error: unknown) => {
        if (detached) return;
        log.say('error', `agent ${agent.name} is not on the mesh`, error);
        process.exitCode = 1;
    });
    const detach = () => {
        detached = true;
        return agent.stop();
    };
    return { agent, mesh: connector as MeshConnector, ready, detach };
}
