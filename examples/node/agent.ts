// A concierge in TypeScript: typed handlers, a session, the connector's events, and an orderly end.
//
//     npx tsc -p . && node dist/agent.js
//
// It takes SVANTIC_URL, SVANTIC_CLIENT_ID and SVANTIC_CLIENT_SECRET. Ctrl-C or SIGTERM ends it.
import { setTimeout as pause } from 'node:timers/promises';
import { Agent, CapabilityError } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

interface Wish {
    city: string;
    mood?: 'quiet' | 'lively';
    guests?: number;
}

interface Evening {
    table: string;
    show: string;
    guests: number;
}

const TABLES = new Map([['Rome', 'Da Enzo'], ['Lisbon', 'Taberna']]);
const agent = new Agent({ name: 'concierge', description: 'Plans evenings' });

agent.define_capability({
    name: 'plan_evening',
    description: 'Plans an evening: a table and a show.',
    // What makes `Wish` true: arguments that do not fit are refused before the handler runs.
    parameters: {
        type: 'object',
        properties: {
            city: { type: 'string' },
            mood: { type: 'string', enum: ['quiet', 'lively'] },
            guests: { type: 'integer', minimum: 1 },
        },
        required: ['city'],
    },
    handler: async ({ city, mood = 'quiet', guests = 2 }: Wish, context): Promise<Evening> => {
        // `context.signal` is aborted when the mesh gives this call up (its deadline has passed, or we are
        // leaving), and with it what the handler waits for. `fetch` takes it too.
        const [table, show] = await Promise.all([find_table(city, guests, context.signal), find_show(mood)]);
        console.log(`planned ${city} for session ${context.session_id}`);
        return { table, show, guests };
    },
});

async function find_table(city: string, guests: number, signal: AbortSignal): Promise<string> {
    await pause(1, undefined, { signal }); // stands for a database or an HTTP call
    const table = TABLES.get(city);
    if (table === undefined || guests > 8) {
        // The mesh sees this text; that of any other error too, unless `redact_handler_errors` is set.
        throw new CapabilityError(`no table for ${guests} in ${city}`, { code: 'NO_TABLE' });
    }
    return table;
}

async function find_show(mood: 'quiet' | 'lively'): Promise<string> {
    return mood === 'quiet' ? 'chamber music' : 'a brass band';
}

async function tell_events(mesh: MeshConnector): Promise<void> {
    // Ends with the connector. Log lines are not told here: they go to the `logger`.
    for await (const event of mesh.events()) {
        if (event.name !== 'log') console.log(`event ${event.name} ${JSON.stringify(event.data)}`);
    }
}

async function main(): Promise<void> {
    // Without a listener a signal would end the process in the middle of running calls.
    const leaving = new AbortController();
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => leaving.abort());

    const mesh = new MeshConnector(agent);
    const telling = tell_events(mesh); // from before it connects, so that the first events are told as well
    try {
        await mesh.connect({ timeout_ms: 20_000, signal: leaving.signal });
        const session_id = await mesh.create_session({ user_id: 'u1' }, { signal: leaving.signal });
        console.log(`session ${session_id}`);
        // A lost connection comes back by itself. What ends this wait is a signal, or what no retry mends.
        await mesh.wait_closed({ signal: leaving.signal }).catch((error: unknown) => {
            if (!leaving.signal.aborted) throw error; // why the mesh has refused us for good
        });
        await mesh.close_session(session_id, { timeout_ms: 5_000 });
    } finally {
        await mesh.close(); // lets running calls finish, then says goodbye
        await telling;
    }
}

await main();
