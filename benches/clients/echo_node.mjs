// An echo agent for a load generator: echo_node.mjs [PORT]; see README.md in this folder.
//
// BENCH_URL is where the gateway is (or PORT says so), BENCH_CONNS how many agents join it, each over the full connect():
// token, register, dial. BENCH_MODE=async makes the handler an async function, BENCH_BUSY_POLL_US is the `busy_poll_us` of
// each. Which library is loaded is SVANTIC_LIBRARY's say.
import { createRequire } from 'node:module';

const { Agent, MeshConnector } = load();
const svantic_url = process.env.BENCH_URL ?? `http://127.0.0.1:${process.argv[2]}`;
const busy_poll_us = Number(process.env.BENCH_BUSY_POLL_US ?? 0);
const handler = process.env.BENCH_MODE === 'async' ? async (args) => args : (args) => args;

for (let number = 0; number < Number(process.env.BENCH_CONNS ?? 1); number += 1) {
    const agent = new Agent({
        name: 'bench',
        description: 'Echoes',
        instance_id: `bench-${process.pid}-${number}`,
    });
    agent.define_capability({ name: 'echo', description: 'Echoes', handler });
    const credentials = { client_id: 'bench', client_secret: 'bench-secret' };
    const mesh = new MeshConnector(agent, { svantic_url, busy_poll_us, ...credentials });
    await mesh.connect();
}

/** The package beside this file, once `npm run build` was run there; it need not be installed. */
function load() {
    const require = createRequire(new URL('../../bindings/node/package.json', import.meta.url));
    return { ...require('svantic'), ...require('svantic/mesh') };
}
