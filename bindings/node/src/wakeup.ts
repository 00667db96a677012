// The descriptor that is readable while items wait, on the event loop.
import net from 'node:net';
import { SvanticError } from './errors';

/** What is woken. */
export interface Sleeper {
    /** Items wait. */
    wake(): void;
    /** Nothing will wake it again. */
    wake_no_more(): void;
}

/**
 * A descriptor of the library on this thread's loop.
 *
 * It holds the sleeper only while it is told to, so that a connector which nobody holds and which does
 * nothing can be collected. It is also a lifeline: when it is closed, or its thread ends, the library frees
 * the agent by itself.
 */
export class Wakeup {
    readonly #socket: net.Socket;
    readonly #weak: WeakRef<Sleeper>;
    #strong: Sleeper | undefined;
    #closed = false;

    /** Takes over `fd`. */
    constructor(fd: number, sleeper: Sleeper) {
        this.#weak = new WeakRef(sleeper);
        const options: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
            fd,
            readable: true,
            writable: false,
            // One buffer for all the bytes, which mean nothing.
            onread: {
                buffer: Buffer.alloc(16),
                callback: () => {
                    (this.#strong ?? this.#weak.deref())?.wake();
                    return true;
                },
            },
        };
        this.#socket = new net.Socket(options);
        // Bun 1.4 makes a socket that never reads, and would spin at an `await` on what never comes.
        if (this.#socket.pending) {
            throw new SvanticError('this JavaScript runtime cannot wait for a descriptor', {
                status: 'INVALID_STATE',
                code: 'UNSUPPORTED_RUNTIME',
                hint: 'Run the program with Node, or with Deno',
            });
        }
        this.#socket.on('error', () => {}); // it closes then, which is told below
        this.#socket.on('close', () => {
            if (!this.#closed) this.#weak.deref()?.wake_no_more();
            this.close();
        });
        this.#socket.unref();
    }

    /** Holds the sleeper and, if `keep_alive`, the process; or neither. */
    hold(sleeper: Sleeper | undefined, keep_alive: boolean): void {
        this.#strong = sleeper;
        if (sleeper !== undefined && keep_alive) this.#socket.ref();
        else this.#socket.unref();
    }

    /** Lets go of everything. */
    close(): void {
        this.#closed = true;
        this.#strong = undefined;
        this.#socket.destroy();
    }
}
