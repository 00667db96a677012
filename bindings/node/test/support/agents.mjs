// What the tests of the package share: an agent, and a connector that is closed with its test.
import { Agent } from 'svantic';
import { MeshConnector } from 'svantic/mesh';
import { wait_for } from './environment.mjs';

/** An agent with these handlers, by name. */
export function agent_with(handlers = {}, config = {}) {
    const agent = new Agent({ name: 'tried', description: 'Is tried', ...config });
    for (const [name, handler] of Object.entries({ echo: (args) => args, ...handlers })) {
        agent.define_capability({ name, description: `Does ${name}.`, handler });
    }
    return agent;
}

/** A connected connector of an agent with these handlers; `options` are the connector's. */
export async function connected(test, gateway, handlers = {}, options = {}) {
    const mesh = new MeshConnector(agent_with(handlers), gateway.config({ logger: false, ...options }));
    test.after(() => mesh.close());
    await mesh.connect();
    return mesh;
}

/** A logger that keeps its lines as `[level, text]`; `said(pattern)` waits for one. */
export function keeping_logger() {
    const lines = [];
    const methods = ['debug', 'info', 'warn', 'error'].map((level) => [
        level,
        (text) => lines.push([level, text]),
    ]);
    const said = (pattern) =>
        wait_for(() => lines.find(([, text]) => pattern.test(text)), `a line like ${pattern}`);
    return { ...Object.fromEntries(methods), lines, said };
}

/** A promise and what settles it. */
export function deferred() {
    let resolve, reject;
    const promise = new Promise((...both) => ([resolve, reject] = both));
    return { promise, resolve, reject };
}

/** What `promise` rejects with. */
export async function rejection(promise) {
    const [outcome] = await Promise.allSettled([promise]);
    if (outcome.status !== 'rejected') throw new Error(`it did not reject, but gave ${outcome.value}`);
    return outcome.reason;
}
