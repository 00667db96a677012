// The conformance driver of the Node face: conformance/README.md says what a driver is told and what it
// prints.
//
// Usage: driver.mjs promises CONFIG [NAME:KIND:ARGUMENT ...]

import { define } from './capabilities.mjs';
import { Commands } from './commands.mjs';
import { Lines } from './lines.mjs';
import { Command, FIRST_CONNECT, LEAVING, Observer } from './observed.mjs';
import { Agent, IDENTITY_KEYS, MeshConnector, SvanticError } from './package.mjs';

/**
 * How long what the library has handed out may take to be delivered, in milliseconds. Less than the runner's
 * patience, so that what is missing is still told.
 */
const GUARD_MS = 20_000;

/** The agent, its connector, and what is printed of them. */
class Driver {
    #lines = new Lines();
    #observer;
    #agent;
    #mesh;
    #events = 0;

    constructor(config, specifications) {
        const options = JSON.parse(config);
        delete options.delivery; // The library's, which the package decides; here it named the driver's own.
        const of_agent = Object.fromEntries(
            IDENTITY_KEYS.filter((key) => key in options).map((key) => [key, options[key]]),
        );
        for (const key of IDENTITY_KEYS) delete options[key];
        this.#observer = new Observer(this.#lines, options.max_frame_bytes ?? 4 << 20);
        this.#agent = new Agent(of_agent);
        for (const specification of specifications) define(this.#agent, this.#lines, specification);
        this.#mesh = new MeshConnector(this.#agent, options);
        this.#mesh.on('event', (event) => this.#print_event(event));
    }

    /** Obeys the commands, and leaves. Whether all that was handed out was delivered. */
    async drive() {
        const commands = new Commands();
        const under_way = [this.#perform(FIRST_CONNECT, 'connect')];
        let number = FIRST_CONNECT;
        for await (const command of commands) {
            number += 1;
            under_way.push(this.#perform(number, command));
        }
        await this.#perform(LEAVING, 'disconnect');
        await this.#mesh.close();
        await Promise.all(under_way);
        if (await this.#lines.wait_for_all(GUARD_MS)) return true;
        console.error(`driver: ${this.#lines.missing()}`);
        return false;
    }

    async #perform(number, text) {
        const command = new Command(number);
        let line;
        try {
            const value = await this.#observer.on_behalf_of(command, () => this.#start(text));
            // Of the mesh's reply the caller is given the session's id.
            const result =
                typeof value === 'string' ? { ...command.result, session_id: value } : (value ?? null);
            line = { type: 'done', tag: number, status: 0, result };
        } catch (error) {
            if (!(error instanceof SvanticError)) throw error;
            const { code, message, hint, http_status, retryable, status_code } = error;
            const fields = { status: status_code, code, message, hint, http_status, retryable };
            line = { type: 'done', tag: number, status: status_code, error: fields };
        }
        if (command.was_taken) this.#lines.print_in_turn(command.key, line);
        else this.#lines.print_now(line);
    }

    /** The call that a command stands for. */
    #start(text) {
        const mesh = this.#mesh;
        const space = text.indexOf(' ');
        const word = space < 0 ? text : text.slice(0, space);
        const argument = space < 0 ? '' : text.slice(space + 1);
        switch (word) {
            case 'connect':
                return mesh.connect();
            case 're_register':
                return mesh.re_register();
            case 'refresh_token':
                return mesh.refresh_token();
            case 'define':
                return define(this.#agent, this.#lines, argument);
            case 'create_session':
                return mesh.create_session(argument === '' ? undefined : JSON.parse(argument));
            case 'close_session':
                return mesh.close_session(argument);
            case 'disconnect':
                return mesh.disconnect(argument === '' ? {} : { timeout_ms: Number(argument) });
            default:
                throw new Error(`no such command: ${word}`);
        }
    }

    /** The listener of all events. */
    #print_event({ name, code, data }) {
        if (name === 'dispatch_cancelled') {
            const { dispatch_id } = data;
            this.#lines.print_now({
                type: 'late',
                dispatch_id,
                status: this.#observer.answer_late(dispatch_id),
            });
        }
        this.#events += 1;
        this.#lines.print_in_turn(`event ${this.#events}`, { type: 'event', event: code, name, data });
    }
}

const [, , , config, ...specifications] = process.argv;
// No process.exit(): that the process then ends by itself is among the promises.
process.exitCode = (await new Driver(config, specifications).drive()) ? 0 : 1;
