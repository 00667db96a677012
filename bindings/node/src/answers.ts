// Answers on their way to the library: each written when it is known, handed over together.
import { randomUUID } from 'node:crypto';
import { CapabilityError, is_wire_code, words_of } from './errors';
import type { Log } from './logger';
import { has_lone_surrogate } from './surrogates';

const REDACTED = 'the handler failed';
const INVALID_RESULT = 'INVALID_RESULT';

/** More text than this is handed over at once: a string cannot grow for ever, and the mesh waits for it. */
const MOST_WAITING_CHARS = 1 << 20;

/** An id that JSON writes as it is. */
const PLAIN = /^[\w.:-]*$/;

/** Whose answer it is. */
export interface Answered {
    readonly dispatch_id: string;
    readonly skill_id: string;
}

/** What takes answers; `false` says that it took none of them. */
export interface AnswerSink {
    answer_batch(answers: string): boolean;
}

/** What has been answered and not been handed over yet. Nothing here throws for what a handler has done. */
export class Answers {
    readonly #sink: AnswerSink;
    readonly #log: Log;
    readonly #redact: boolean;
    #texts: string[] = [];
    /** Whose they are, in the same order. */
    #dispatches: Answered[] = [];
    #chars = 0;

    constructor(sink: AnswerSink, log: Log, redact: boolean) {
        this.#sink = sink;
        this.#log = log;
        this.#redact = redact;
    }

    /** Adds a result. Written here and now: the handler may change the object as soon as it goes on. */
    add(dispatch: Answered, result: unknown): void {
        let text: string;
        try {
            // What has no text is null, as for JSON.stringify() within an array.
            const json = (JSON.stringify(result) as string | undefined) ?? 'null';
            if (typeof result === 'function' || typeof result === 'symbol') {
                throw new TypeError(`it is a ${typeof result}`);
            }
            // Escaped they are JSON, but whoever reads it strictly gives up the whole frame.
            if (has_lone_surrogate(json)) {
                throw new TypeError('a text in it holds a lone surrogate, which UTF-8 cannot carry');
            }
            const { dispatch_id } = dispatch;
            const id = PLAIN.test(dispatch_id) ? `"${dispatch_id}"` : JSON.stringify(dispatch_id);
            text = `{"dispatch_id":${id},"result":${json}}`;
        } catch (error) {
            this.#refuse(dispatch, words_of(error));
            return;
        }
        this.#push(dispatch, text);
    }

    /** Adds a handler's failure: its message for the mesh, its stack for the log. */
    fail(dispatch: Answered, error: unknown): void {
        const what = `capability ${dispatch.skill_id}, dispatch ${dispatch.dispatch_id}`;
        const message = words_of(error);
        if (is_capability_error(error)) {
            const code = code_of(error);
            this.#push_error(dispatch, message, code);
            this.#log.say('info', `${what}: ${message}`);
        } else if (this.#redact) {
            const error_id = randomUUID();
            this.#push_error(dispatch, `${REDACTED} (error id ${error_id})`);
            this.#log.say('error', `${what} failed (error id ${error_id})`, error);
        } else {
            this.#push_error(dispatch, message);
            this.#log.say('error', `${what} failed`, error);
        }
    }

    /** Hands over what waits. */
    flush(): void {
        const texts = this.#texts;
        if (texts.length === 0) return;
        const dispatches = this.#dispatches;
        this.#texts = [];
        this.#dispatches = [];
        this.#chars = 0;
        if (this.#hand_over(texts)) return;
        // All or nothing, so one of them may be the cause. The rest is answered.
        for (let index = 0; index < texts.length; index += 1) {
            if (this.#hand_over([texts[index] as string])) continue;
            const { dispatch_id, skill_id } = dispatches[index] as Answered;
            const name = JSON.stringify(skill_id);
            const message = `the answer of capability ${name} is no text that UTF-8 can carry, or too deep`;
            this.#hand_over([JSON.stringify({ dispatch_id, error: { message, code: INVALID_RESULT } })]);
            this.#log.say('error', `dispatch ${dispatch_id}: ${message}`);
        }
    }

    #hand_over(texts: readonly string[]): boolean {
        try {
            // In here: together they may be longer than a string can be.
            return this.#sink.answer_batch(texts.length === 1 ? `[${texts[0]}]` : `[${texts.join(',')}]`);
        } catch (error) {
            this.#log.say('error', 'answers could not be handed to the library', error);
            return false;
        }
    }

    #push(dispatch: Answered, text: string): void {
        this.#texts.push(text);
        this.#dispatches.push(dispatch);
        this.#chars += text.length;
        if (this.#chars > MOST_WAITING_CHARS) this.flush();
    }

    #push_error(dispatch: Answered, message: string, code?: string | undefined): void {
        const { dispatch_id } = dispatch;
        // A code that is undefined is left out.
        this.#push(dispatch, JSON.stringify({ dispatch_id, error: { message, code } }));
    }

    #refuse(dispatch: Answered, why: string): void {
        const message = `the result of capability ${JSON.stringify(dispatch.skill_id)} is not JSON: ${why}`;
        this.#push_error(dispatch, message, INVALID_RESULT);
        this.#log.say('error', `dispatch ${dispatch.dispatch_id}: ${message}`);
    }
}

/** Another copy of this package may have made it. */
function is_capability_error(error: unknown): error is CapabilityError {
    try {
        return error instanceof CapabilityError || (error as Error | null)?.name === 'CapabilityError';
    } catch {
        return false;
    }
}

function code_of(error: CapabilityError): string | undefined {
    try {
        const { code } = error;
        return is_wire_code(code) ? code : undefined;
    } catch {
        return undefined;
    }
}
