// A real `svantic-gateway serve` process and its control face.
//
// Whatever waits here waits for a condition, with GUARD_MS as the bound after which the test is broken.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import readline from 'node:readline';
import { GUARD_MS, environment_of, gateway_binary, wait_for } from './environment.mjs';
import { adopt } from './reaper.mjs';

export { GUARD_MS, wait_for } from './environment.mjs';

/** The control face said no: nobody there (503), no answer in time (504), a bad request (400). */
export class Refused extends Error {
    constructor(status, body) {
        super(`${status} ${JSON.stringify(body)}`);
        this.status = status;
        this.body = body;
    }
}

/** One process of the local gateway. It picks a free port and keeps it over `kill()` and `restart()`. */
export class Gateway {
    #args;
    #port;
    #client_secret;
    #process;
    #numbers = 0;
    #endings = [];

    /**
     * Starts one: `{args}` are those of `svantic-gateway serve`, `{test}` is the test that it ends with
     * (without one it ends with this process at the latest), `{client_secret}` the one to take, `{faults}`
     * and `{script}` as `set_faults` and `set_script` take them.
     */
    static async start({ args = [], test, port = 0, client_secret, faults, script } = {}) {
        const gateway = new Gateway();
        gateway.#args = args;
        gateway.#port = port;
        gateway.#client_secret = client_secret;
        // After-hooks run in the order of their registration, and who leaves wants somebody to say goodbye to.
        test?.after(async () => {
            try {
                for (const end of gateway.#endings) await end();
            } finally {
                await gateway.kill();
            }
        });
        await gateway.restart();
        if (faults) await gateway.set_faults(faults);
        if (script) await gateway.set_script(...script);
        return gateway;
    }

    // The process

    get pid() {
        return this.#process?.pid;
    }

    /** Starts it again on its port and with its secret: nothing else is remembered. */
    async restart() {
        if (this.#process) throw new Error('it runs already');
        const extra = this.#client_secret ? { SVANTIC_GATEWAY_CLIENT_SECRET: this.#client_secret } : {};
        const args = ['serve', '--json', '--port', String(this.#port), ...this.#args];
        const child = spawn(gateway_binary, args, {
            stdio: ['ignore', 'pipe', 'pipe'],
            env: environment_of(extra),
        });
        this.#process = adopt(child);
        let errors = '';
        child.stderr.setEncoding('utf8').on('data', (text) => (errors = (errors + text).slice(-10_000)));
        const lines = readline.createInterface({ input: child.stdout });
        const signal = AbortSignal.timeout(GUARD_MS);
        const line = await Promise.race([
            once(lines, 'line', { signal }).then(([text]) => text, () => undefined),
            once(child, 'close').then(() => undefined, () => undefined),
        ]);
        if (!line) {
            await this.kill();
            throw new Error(`the gateway did not start: ${gateway_binary} ${args.join(' ')}\n${errors}`);
        }
        // A gateway that a test forgets keeps no process alive.
        for (const each of [child, child.stdout, child.stderr]) each.unref();
        const told = JSON.parse(line);
        this.url = told.url;
        this.client_id = told.client_id;
        this.client_secret = this.#client_secret = told.client_secret;
        this.#port = Number(new URL(told.url).port);
    }

    /** Ends it in an orderly way: sockets get 1001. */
    stop() {
        return this.#end('SIGTERM');
    }

    /** Ends it at once: sockets are cut, and what it knew is gone. */
    kill() {
        return this.#end('SIGKILL');
    }

    /** What is done when the test ends, while the gateway still runs. */
    at_end(what) {
        this.#endings.unshift(what);
    }

    async [Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]() {
        await this.kill();
    }

    /** Stops the process (SIGSTOP): the kernel still takes bytes, nobody answers. */
    pause() {
        this.#process.kill('SIGSTOP');
    }

    /** Lets a paused process go on. */
    resume() {
        this.#process.kill('SIGCONT');
    }

    async #end(signal) {
        const child = this.#process;
        this.#process = undefined;
        if (!child || child.exitCode !== null || child.signalCode !== null) return;
        const ended = once(child, 'exit');
        child.ref();
        child.kill('SIGCONT');
        child.kill(signal);
        const guard = setTimeout(() => child.kill('SIGKILL'), GUARD_MS);
        await ended;
        clearTimeout(guard);
        child.stdout.destroy();
        child.stderr.destroy();
    }

    // What an agent needs

    /** The variables that lead an agent here. */
    environment() {
        const { svantic_url, client_id, client_secret } = this.config();
        return {
            SVANTIC_URL: svantic_url,
            SVANTIC_CLIENT_ID: client_id,
            SVANTIC_CLIENT_SECRET: client_secret,
        };
    }

    /** The same as options of a connector, with `more` of them. */
    config(more = {}) {
        const { url, client_id, client_secret } = this;
        return { svantic_url: url, client_id, client_secret, ...more };
    }

    /** A token as an agent gets it. */
    async issue_token(agent_type = 'tested') {
        const { client_id, client_secret } = this;
        const body = { client_id, client_secret, agent_type };
        const reply = await this.#request('POST', '/auth/get_token', body);
        return reply.token ?? reply.access_token;
    }

    // Dispatches

    /**
     * Sends one dispatch and waits for its answer, `{dispatch_id, result}` or `{dispatch_id, error: {code,
     * message}}`. `timeout` is in seconds; the other fields are those of the control face: `instance_id`,
     * `id`, `session_context`, … Throws `Refused` when nobody is there or answers in time.
     */
    async dispatch(skill, args = {}, { timeout = GUARD_MS / 1000, ...fields } = {}) {
        const body = { skill_id: skill, args, timeout, ...fields };
        const reply = await this.#control('POST', 'dispatch', body, timeout * 1000 + GUARD_MS);
        if (!reply.error) return { dispatch_id: reply.dispatch_id, result: reply.result };
        return { dispatch_id: reply.dispatch_id, error: { message: '', ...reply.error } };
    }

    /** Sends `count` dispatches at once, without waiting for answers; their ids. */
    async dispatch_many(skill, args = {}, { count, instance_id } = {}) {
        const prefix = `many${(this.#numbers += 1)}`;
        // One id stays as it is, several are numbered.
        const id = count > 1 ? prefix : `${prefix}-1`;
        const step = { at: 0, do: { dispatch: { skill_id: skill, args, id, count } } };
        await this.set_script(instance_id === undefined ? step : { ...step, instance: instance_id });
        return Array.from({ length: count }, (_, index) => `${prefix}-${index + 1}`);
    }

    /** The first answers to these dispatches, in this order, once all are there. */
    async answers(ids, guard_ms = GUARD_MS) {
        const wanted = new Set(ids);
        // Counters are cheap to ask for; the ledger is looked at when it may be all there.
        const enough = async () => (await this.answered()) >= wanted.size;
        await wait_for(enough, `${wanted.size} answers at all`, guard_ms);
        const all = async () => {
            const entries = (await this.ledger()).filter((e) => wanted.has(e.id) && e.answers?.length);
            const by_id = new Map(entries.map((entry) => [entry.id, entry]));
            return by_id.size === wanted.size && ids.map((id) => answer_of(by_id.get(id)));
        };
        return wait_for(all, `answers to all of ${wanted.size} dispatches`, guard_ms);
    }

    /** How many dispatches have an answer. */
    async answered() {
        const { results, errors } = await this.totals();
        return results + errors;
    }

    // What it saw

    /** All instances that ever registered. */
    agents() {
        return this.#control('GET', 'agents');
    }

    /** One instance; without an id the only one. Undefined if there is none. */
    async agent(instance_id) {
        const all = await this.agents();
        const agents = all.filter((agent) => instance_id === undefined || agent.instance_id === instance_id);
        if (agents.length > 1) throw new Error('several agents: say which');
        return agents[0];
    }

    /** Every dispatch with its sendings and answers. */
    async ledger() {
        return (await this.#control('GET', 'ledger')).entries;
    }

    /** What agents did against the protocol. */
    async violations() {
        return (await this.#control('GET', 'ledger')).violations;
    }

    /** Every HTTP request. */
    requests() {
        return this.#control('GET', 'requests');
    }

    /** Every frame of an instance (or the only one), oldest first: `at, direction, frame, content`. */
    async frames(instance_id) {
        const id = instance_id ?? (await this.agent())?.instance_id ?? '';
        return this.#control('GET', `frames?instance_id=${encodeURIComponent(id)}`);
    }

    /** The heartbeat frames: `at` and `status`. */
    async heartbeats(instance_id) {
        const frames = await this.frames(instance_id);
        const beats = frames.filter((frame) => frame.content?.type === 'heartbeat');
        return beats.map((frame) => ({ at: frame.at, status: frame.content.payload.status }));
    }

    /** The statuses that heartbeats told, each as long as it held. */
    async statuses(instance_id) {
        const all = (await this.heartbeats(instance_id)).map((beat) => beat.status);
        return all.filter((status, index) => status !== all[index - 1]);
    }

    /** Every session. */
    sessions() {
        return this.#control('GET', 'sessions');
    }

    /** The counters. */
    totals() {
        return this.#control('GET', 'totals');
    }

    /** Everything there is to see, one after the other. */
    async snapshot() {
        const { entries, violations } = await this.#control('GET', 'ledger');
        return {
            agents: await this.agents(),
            sessions: await this.sessions(),
            requests: await this.requests(),
            totals: await this.totals(),
            ledger: entries,
            violations,
        };
    }

    /** Waits until the instance has a welcomed socket, its `welcomes`th or a later one. */
    wait_ready(instance_id, { welcomes = 1 } = {}) {
        const ready = async () => {
            const agent = await this.agent(instance_id);
            return agent?.ready && agent.welcomes >= welcomes && agent;
        };
        return wait_for(ready, `a welcomed socket of ${instance_id ?? 'the agent'}`);
    }

    /** Waits until the instance has said goodbye: deregistered, no socket open. */
    wait_gone(instance_id) {
        const gone = async () => {
            const agent = await this.agent(instance_id);
            return agent && !agent.registered && !agent.open_sockets && agent;
        };
        return wait_for(gone, `the farewell of ${instance_id ?? 'the agent'}`);
    }

    /** Waits until no instance is registered or has a socket. */
    wait_empty() {
        const empty = async () => {
            const left = (await this.agents()).filter((agent) => agent.registered || agent.open_sockets);
            return left.length === 0;
        };
        return wait_for(empty, 'the farewell of every agent');
    }

    // What it does wrong on purpose

    /** Replaces all faults (`stall`, `refuse`, `drop_every`, `no_pong`, …); none is none. */
    async set_faults(faults = {}) {
        await this.#control('POST', 'faults', faults);
    }

    /** Replaces the script: `{at: SECONDS, do: …}` or `{on: EVENT, nth: N, do: …}`. */
    async set_script(...steps) {
        await this.#control('POST', 'script', steps);
    }

    /** A close frame to the instance's sockets. */
    async close(instance_id, code = 1000, reason = '') {
        await this.#control('POST', 'close', { instance_id, code, reason });
    }

    /** Resets the instance's sockets. */
    async abort(instance_id) {
        await this.#control('POST', 'abort', { instance_id });
    }

    /** Drops the instance's registration. */
    async forget(instance_id) {
        await this.#control('POST', 'forget', { instance_id });
    }

    /** Signs the calls to hosted agents with this secret from now on. */
    async rotate(secret) {
        await this.#control('POST', 'rotate', { secret });
    }

    #control(method, what, body, guard_ms) {
        return this.#request(method, `/_gateway/${what}`, body, guard_ms);
    }

    #request(method, target, body, guard_ms = GUARD_MS) {
        const { hostname, port } = new URL(this.url);
        return new Promise((resolve, reject) => {
            const headers = { 'Content-Type': 'application/json' };
            const options = { hostname, port, method, path: target, headers, agent: false };
            const signal = AbortSignal.timeout(guard_ms);
            const request = http.request({ ...options, signal }, (response) => {
                const chunks = [];
                response.on('data', (chunk) => chunks.push(chunk)).on('error', reject).on('end', () => {
                    const value = JSON.parse(Buffer.concat(chunks).toString());
                    if (response.statusCode === 200) resolve(value);
                    else reject(new Refused(response.statusCode, value));
                });
            });
            request.on('error', (cause) => {
                const text = `the gateway did not answer ${method} ${target}: ${cause.message}`;
                reject(new Error(text, { cause }));
            });
            request.end(body === undefined ? undefined : JSON.stringify(body));
        });
    }
}

function answer_of(entry) {
    const { type, payload } = JSON.parse(entry.answers[0].text);
    if (type !== 'error') return { dispatch_id: entry.id, result: payload.result };
    return { dispatch_id: entry.id, error: { code: payload.code, message: payload.message } };
}
