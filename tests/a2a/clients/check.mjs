// What the clients in Node have in common: the cases, and the comparison.
import { isDeepStrictEqual } from 'node:util';
import { readFileSync } from 'node:fs';

const ALL = JSON.parse(readFileSync(new URL('../cases.json', import.meta.url), 'utf8'));
export const SECRET = process.env.A2A_SHARED_SECRET;

/** A part that every agent answers if it lets the call in. */
export const FIND = { data: { skill_id: 'find_order', args: { order_id: 'A17' } } };

/** So many calls at the same time, and what they are answered with. */
const NUMBERS = [...Array(50).keys()];
const AT_ONCE = NUMBERS.map((n) => [{ data: { skill_id: 'count', args: { n } } }]);
const AT_ONCE_ANSWERS = NUMBERS.map((n) => ({ result: { next: n + 1 } }));

/** Name, parts and what is expected; with the secret, if the agent wants one. */
function cases() {
    if (SECRET === undefined) return ALL;
    const svantic_auth = { scheme: 'shared_secret', token: SECRET };
    const signed = ({ data, ...rest }) => (data ? { data: { ...data, svantic_auth } } : rest);
    return ALL.filter(({ parts }) => parts.some((part) => part.data)).map((each) => ({
        ...each,
        parts: each.parts.map(signed),
    }));
}

/** The data part of an answer, whose members are the names of outcomes. */
export function outcome_of_data(data) {
    const [[name, value], ...more] = Object.entries(data);
    check(more.length === 0, data);
    return { [name === 'error' ? 'failed' : name]: value };
}

/** The platform's code, from where either version puts it. */
export function code_in(data) {
    const code = Array.isArray(data) ? data[0]?.metadata?.code : data?.code;
    return code === undefined ? {} : { code };
}

export function check(holds, seen) {
    if (!holds) throw new Error(`unexpected: ${JSON.stringify(seen)}`);
}

/** The version of an installed client. */
export function version_of(name) {
    const file = new URL(`../node_modules/${name}/package.json`, import.meta.url);
    return JSON.parse(readFileSync(file, 'utf8')).version;
}

/** How a client asks: for a message, or for a stream of one event, which has the answer inside. */
export function ways_of(client, outcome_of, inside = (event) => event) {
    return {
        sent: async (wanted) => outcome_of(await client.sendMessage(wanted)),
        streamed: async (wanted) => {
            const events = [];
            for await (const event of client.sendMessageStream(wanted)) events.push(event);
            check(events.length === 1, events);
            return outcome_of(inside(events[0]));
        },
    };
}

/** One client against one agent: every case is played, then it says how many there were. */
export class Run {
    #played = 0;
    #failed = 0;

    constructor(client) {
        this.client = client;
    }

    async expect(name, play, expected) {
        this.#played += 1;
        const seen = await within_a_minute(play).catch((error) => `${error.name}: ${error.message}`);
        if (isDeepStrictEqual(seen, expected)) return;
        this.#failed += 1;
        const [wanted, got] = [expected, seen].map((value) => JSON.stringify(value));
        console.log(`FAILED  ${this.client}: ${name}\n  expected ${wanted}\n  seen     ${got}`);
    }

    /** Every case, and many at once, in each way; `ask` gets one of those, and the parts of a message. */
    async expect_cases(ways, ask) {
        for (const [how, play] of Object.entries(ways)) {
            const answer = (parts) => () => ask(play, parts);
            for (const { name, parts, expect } of cases()) {
                await this.expect(`${name} (${how})`, answer(parts), expect);
            }
            if (SECRET !== undefined) {
                await this.expect(`no secret (${how})`, answer([FIND]), { error: -32001 });
            } else {
                const at_once = () => Promise.all(AT_ONCE.map((parts) => ask(play, parts)));
                await this.expect(`each has its own answer (${how})`, at_once, AT_ONCE_ANSWERS);
            }
        }
    }

    end() {
        console.log(`${this.client}: ${this.#played - this.#failed} of ${this.#played} passed`);
        process.exit(this.#failed || !this.#played ? 1 : 0);
    }
}

async function within_a_minute(play) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error('no answer within 60 s')), 60_000);
    });
    try {
        return await Promise.race([play(), late]);
    } finally {
        clearTimeout(timer);
    }
}
