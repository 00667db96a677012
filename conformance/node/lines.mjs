// What the driver prints, in the order in which the library said it.
//
// A program of the package hears of an event at once and of the end of an operation when its promise goes on.
// The library hands both out in one order, which is part of what the scenarios expect, so that a line waits
// here for those before it: for every item that the library handed out, the package has to deliver what
// became of it, or the driver does not end well.

/** The lines of the driver. */
export class Lines {
    /** Keys of what the library has handed out and the package has not delivered yet: `event 3`, `done 1`. */
    #expected = [];
    /** What the package has delivered, by its key. */
    #waiting = new Map();
    #is_over = false;
    #tell_completion = () => {};

    /** For what has no place in the library's order: the lines of handlers. */
    print_now(line) {
        process.stdout.write(`${JSON.stringify(line)}\n`);
    }

    /** The library has handed this out. */
    expect(key) {
        this.#expected.push(key);
        this.#print_those_in_turn();
    }

    /** The library has handed out its last item. What the package says from now on it says by itself. */
    expect_no_more() {
        this.#is_over = true;
        for (const key of this.#waiting.keys()) {
            if (!this.#expected.includes(key)) this.#expected.push(key);
        }
        this.#print_those_in_turn();
    }

    /** The package has delivered this. */
    print_in_turn(key, line) {
        this.#waiting.set(key, line);
        if (this.#is_over && !this.#expected.includes(key)) this.#expected.push(key);
        this.#print_those_in_turn();
    }

    /** Whether everything that was handed out was delivered, and nothing else. Waits for at most so long. */
    async wait_for_all(timeout_ms) {
        if (this.#is_complete) return true;
        return new Promise((resolve) => {
            const timer = setTimeout(resolve, timeout_ms, false);
            this.#tell_completion = () => {
                clearTimeout(timer);
                resolve(true);
            };
        });
    }

    /** For people: what was handed out and not delivered, or the other way round. */
    missing() {
        const delivered = [...this.#waiting.keys()];
        return `handed out and not delivered: [${this.#expected}]; delivered and not in turn: [${delivered}]`;
    }

    #print_those_in_turn() {
        while (this.#waiting.has(this.#expected[0])) {
            const key = this.#expected.shift();
            this.print_now(this.#waiting.get(key));
            this.#waiting.delete(key);
        }
        if (this.#is_complete) this.#tell_completion();
    }

    get #is_complete() {
        return this.#expected.length === 0 && this.#waiting.size === 0;
    }
}
