// Calls of the application's functions: what fails in them ends neither the process nor what calls them.

/** Calls `call`; `failed` gets what it throws, or what its promise rejects with. */
export function call_guarded(call: () => unknown, failed: (error: unknown) => void): void {
    try {
        const outcome = call();
        if (outcome instanceof Promise) outcome.catch(failed);
    } catch (error) {
        failed(error);
    }
}

/** An emitter of events, whatever their names. */
interface Emitter {
    rawListeners(name: string): readonly unknown[];
}

/** Not emit(): where one listener throws the others are called all the same. */
export function call_listeners(
    emitter: Emitter,
    name: string,
    data: unknown,
    failed: (error: unknown) => void,
): void {
    for (const listener of emitter.rawListeners(name) as ((data: unknown) => unknown)[]) {
        call_guarded(() => listener.call(emitter, data), failed);
    }
}
