// A backend that speaks to the mesh with the JWT of its user, and rotates it.
//
//     node forward_token.mjs hand-over FILE    we hand the library each new token
//     node forward_token.mjs on-demand FILE    the library asks for a token when it needs one
//
// FILE holds the user's JWT and is replaced when there is a new one, as a sidecar or an identity provider's
// client does it. No client secret is here: the mesh sees the user's rights, not the backend's. SVANTIC_URL
// says where the mesh is.
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Agent } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

const agent = new Agent({ name: 'assistant', description: 'Acts for one user' });
agent.define_capability({
    name: 'draft_reply',
    description: "Drafts a reply in the user's name.",
    parameters: { type: 'object', properties: { subject: { type: 'string' } }, required: ['subject'] },
    // The tenant comes with the call. Never take it from the arguments: those are what somebody typed.
    handler: async ({ subject }, { tenant_id }) => {
        return { tenant_id, draft: `Thank you for writing about ${subject}.` };
    },
});

/** `token`: the token is ours. The library warns before it expires, and never renews it by itself. */
async function hand_over(file) {
    let jwt = readFileSync(file, 'ascii').trim();
    const mesh = new MeshConnector(agent, { token: jwt });
    // Taken over in place: an open connection stays, and running calls go on. Once a token has expired or was
    // refused, the connector waits for this: it does not knock again with what is of no use.
    const rotate = async () => {
        const latest = (await readFile(file, 'ascii')).trim();
        if (latest === jwt) return;
        jwt = latest;
        await mesh.refresh_token(jwt);
    };
    for (const name of ['token_expiring', 'token_expired', 'auth_failed']) {
        mesh.on(name, () => rotate().catch((error) => console.error(`no new token: ${error.message}`)));
    }
    mesh.on('token_refreshed', ({ generation }) => console.log(`token ${generation} is in use`));

    // A web backend calls mesh.refresh_token() where it learns of a new token, such as in its login route.
    for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => mesh.close());
    await mesh.connect();
    await mesh.wait_closed(); // rejects with the reason if the mesh refuses us for good
}

/**
 * `token_provider`: asked at the start, before a token expires, and when the mesh has refused one. It may
 * take `token_provider_timeout_ms`. A rejection counts as "none yet": the library asks again after a while.
 */
async function on_demand(file) {
    await agent.start({ token_provider: async () => (await readFile(file, 'ascii')).trim() });
}

const [way, file] = process.argv.slice(2);
const ways = { 'hand-over': hand_over, 'on-demand': on_demand };
if (file === undefined || !Object.hasOwn(ways, way)) {
    console.error('usage: node forward_token.mjs hand-over FILE | on-demand FILE');
    process.exitCode = 2;
} else {
    await ways[way](file);
}
