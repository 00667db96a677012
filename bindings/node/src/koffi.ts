// What this package uses of koffi. Its own types are those of an ECMAScript module, which a CommonJS one
// cannot name.

/** A type of C: its name, or what koffi has made of one. */
export type Definition = string | { readonly brand: 'koffi' };

/** A shared library that has been loaded. */
export interface LibraryHandle {
    /** Declares a function. Throws when the library has none of that name. */
    func(
        name: string,
        result: Definition,
        parameters: readonly Definition[],
    ): (...parameters: never[]) => never;
}

interface Koffi {
    load(path: string): LibraryHandle;
    out(type: Definition): Definition;
    pointer(type: Definition): Definition;
    disposable(name: null, type: Definition, free: (text: never) => void): Definition;
}

/** The foreign function interface. */
export const koffi: Koffi = load();

function load(): Koffi {
    try {
        return require('koffi') as Koffi;
    } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        throw new Error(
            `koffi, which calls libsvantic, cannot be loaded (${reason}). Its part for this platform is ` +
                'an optional dependency: install without --omit=optional on the platform that it is to run on, ' +
                'and leave koffi out of bundles',
            { cause: error },
        );
    }
}
