// Requests that one connector is answering.
import { unavailable, type Respond, type ResponsePart } from './exchange';

/** Who waits for the responses, by the tag of the request. */
export class PendingResponses {
    readonly #waiting = new Map<number, { readonly respond: Respond; begun: boolean }>();

    /** Whether somebody waits. */
    get any(): boolean {
        return this.#waiting.size > 0;
    }

    /** Somebody waits from now on. */
    add(tag: number, respond: Respond): void {
        this.#waiting.set(tag, { respond, begun: false });
    }

    /** Nobody waits any more; whether somebody did. */
    drop(tag: number): boolean {
        return this.#waiting.delete(tag);
    }

    /** Hands on a part. */
    take(tag: number, part: ResponsePart): void {
        const waiting = this.#waiting.get(tag);
        if (!part.more) this.#waiting.delete(tag);
        if (waiting === undefined) return; // the client has gone
        waiting.begun = true;
        waiting.respond(part);
    }

    /** Gives everybody a last part: nothing more comes. */
    end(): void {
        const all = [...this.#waiting.values()];
        this.#waiting.clear();
        for (const { respond, begun } of all)
            respond(begun ? { more: false } : unavailable('the agent has ended'));
    }
}
