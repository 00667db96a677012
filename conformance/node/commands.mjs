// The lines of stdin.

import { createInterface } from 'node:readline';

/** What the driver is told, until it is told to leave: by `quit`, the end of the input, or SIGTERM. */
export class Commands {
    #input = createInterface({ input: process.stdin, terminal: false });

    constructor() {
        process.once('SIGTERM', () => this.#input.close());
    }

    async *[Symbol.asyncIterator]() {
        for await (const line of this.#input) {
            if (line.trim() === 'quit') break;
            yield line;
        }
        process.stdin.destroy(); // Nothing of it keeps the process alive.
    }
}
