// What the library and the package say to each other, overheard.
//
// The scenarios ask for more than the package shows its users: in which order the library said things, with
// which status it took an answer, and what it says to one that comes too late. This listens at the functions
// of `library()` in dist/library.js, through which all of it goes, and changes nothing on the way. Calls,
// events and outcomes are judged by what the package delivers.

import { AsyncLocalStorage } from 'node:async_hooks';

import { library } from './package.mjs';

/** The numbers of the two commands that a driver is not given. */
export const FIRST_CONNECT = 0;
export const LEAVING = -1;

const OPERATIONS = [
    'connect',
    'disconnect',
    're_register',
    'refresh_token',
    'create_session',
    'close_session',
];

const OK = 0;
const INVALID_ARGUMENT = 1;
const INVALID_HANDLE = 2;
const INVALID_JSON = 3;
const NOT_FOUND = 7;
const CANCELLED = 21;

/** A command that the driver obeys. */
export class Command {
    /** Whether the library took it, so that its outcome is among the items. */
    was_taken = false;
    /** What the library gave as its result. */
    result = undefined;

    constructor(number) {
        this.key = `done ${number}`;
    }
}

/** Listens at the handle that this process makes from now on; there is one. */
export class Observer {
    #lines;
    #max_frame_bytes;
    #handle;
    #answer_batch;
    #events = 0;
    /** The command on whose behalf something runs, if there is one. */
    #current = new AsyncLocalStorage();
    /** By the tag that the package has given to the operation. */
    #commands = new Map();

    constructor(lines, max_frame_bytes) {
        this.#lines = lines;
        this.#max_frame_bytes = max_frame_bytes;
        const functions = library();
        this.#answer_batch = functions.answer_batch;
        const { create, next_flat } = functions;
        functions.create = (config, out) => {
            const status = create(config, out);
            this.#handle = out[0];
            return status;
        };
        functions.next_flat = (handle, most, timeout_ms, out, ...rest) => {
            const status = next_flat(handle, most, timeout_ms, out, ...rest);
            if (status === OK) this.#hear_items(JSON.parse(out[0]));
            if (status === CANCELLED || status === INVALID_HANDLE) this.#lines.expect_no_more();
            return status;
        };
        functions.answer_batch = (handle, answers, length) => {
            const refused = new Uint32Array(1);
            const status = this.#answer_batch(handle, answers, length, refused);
            if (status === OK) this.#print_ends(JSON.parse(answers.toString('utf8', 0, length)), refused[0]);
            return status;
        };
        for (const operation of OPERATIONS) this.#listen_at_operation(functions, `${operation}_async`);
    }

    /** Runs `act` so that the operation that it starts is known to be this command's. */
    on_behalf_of(command, act) {
        return this.#current.run(command, act);
    }

    /** Tries to answer a dispatch past the package; the status that tells whether that was possible. */
    answer_late(dispatch_id) {
        const refused = new Uint32Array(1);
        const answers = Buffer.from(JSON.stringify([{ dispatch_id, result: 0 }]));
        const status = this.#answer_batch(this.#handle, answers, answers.length, refused);
        return status === OK && refused[0] > 0 ? NOT_FOUND : status;
    }

    #listen_at_operation(functions, name) {
        const start = functions[name];
        functions[name] = (...parameters) => {
            const command = this.#current.getStore();
            if (command === undefined) return start(...parameters); // The package's own affair.
            const status = start(...parameters);
            command.was_taken = status === OK;
            if (command.was_taken) this.#commands.set(parameters.at(-1), command);
            return status;
        };
    }

    #hear_items(items) {
        for (let at = 0; at < items.length; at += 1) {
            const item = items[at];
            if (typeof item === 'string') {
                at += 2; // a dispatch: its id, its skill, its arguments
            } else if (item.type === 'event') {
                this.#events += 1;
                this.#lines.expect(`event ${this.#events}`);
            } else if (item.type === 'done' && this.#commands.has(item.tag)) {
                const command = this.#commands.get(item.tag);
                command.result = item.result;
                this.#lines.expect(command.key);
            } else if (item.type === 'closed') {
                this.#lines.expect_no_more();
            }
        }
    }

    /** One line an answer. Of those that it refused, too large ones and late ones, there is but a number. */
    #print_ends(answers, refused) {
        const bytes_of = ({ result }) => Buffer.byteLength(JSON.stringify(result ?? null));
        const too_large = answers.filter((answer) => bytes_of(answer) > this.#max_frame_bytes);
        const late = refused - too_large.length;
        const timely = answers.length - too_large.length;
        for (const answer of answers) {
            let status = OK;
            if (too_large.includes(answer)) status = late >= 0 ? INVALID_ARGUMENT : OK;
            else if (late > 0) status = late === timely ? NOT_FOUND : null; // Who knows which.
            else if (answer.error?.code === 'INVALID_RESULT') status = INVALID_JSON; // By the package.
            this.#lines.print_now({ type: 'end', dispatch_id: answer.dispatch_id, status });
        }
    }
}
