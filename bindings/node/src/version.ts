// The version of this package, which is that of the library it goes with.

/** `"major.minor.patch"`. */
export const VERSION: string = (require('../package.json') as { readonly version: string }).version;
