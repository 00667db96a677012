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
export const koffi: Koffi = require('koffi') as Koffi;
