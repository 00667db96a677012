// Where the tests find what they need, and what must not reach them.
//
// | variable              | meaning                             | default             |
// |-----------------------|-------------------------------------|---------------------|
// | SVANTIC_GATEWAY       | the gateway's binary                | cargo's debug build |
// | SVANTIC_LIBRARY       | the shared library                  | cargo's debug build |
// | SVANTIC_TEST_PACKAGE  | the folder of the package           | bindings/node       |
// | SVANTIC_TEST_GUARD_S  | after this long a wait is a failure | 60                  |
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const node_binding = fileURLToPath(new URL('../..', import.meta.url));
const repository = path.resolve(node_binding, '../..');

/** A file of `cargo build`'s debug profile. */
function built(name) {
    return path.join(process.env.CARGO_TARGET_DIR || path.join(repository, 'target'), 'debug', name);
}

/** The folder of the package that programs import. */
export const package_folder = path.resolve(process.env.SVANTIC_TEST_PACKAGE || node_binding);
export const gateway_binary = process.env.SVANTIC_GATEWAY || built('svantic-gateway');
export const library = process.env.SVANTIC_LIBRARY || built('libsvantic.so');
/** Generous, because nobody waits for it unless something is broken. */
export const GUARD_MS = Number(process.env.SVANTIC_TEST_GUARD_S || '60') * 1000;

for (const [what, file] of [['gateway', gateway_binary], ['library', library]]) {
    if (!existsSync(file)) {
        throw new Error(
            `no ${what} at ${file}: \`cargo build -p svantic -p svantic-gateway\`, or say where it is`
                + ' with SVANTIC_GATEWAY and SVANTIC_LIBRARY',
        );
    }
}

// What the person who runs the tests has in their environment must not lead a test anywhere.
for (const name of Object.keys(process.env)) {
    if (/^SVANTIC_(?!TEST_|LIBRARY$|GATEWAY$)/.test(name) || /_proxy$/i.test(name)) delete process.env[name];
}
process.env.SVANTIC_LIBRARY = library;

/** The environment of a program: ours without what would lead it elsewhere, and `extra`. */
export function environment_of(extra = {}) {
    const ours = Object.entries(process.env).filter(([name]) => !/^(SVANTIC|NODE)_/.test(name));
    return { ...Object.fromEntries(ours), SVANTIC_LIBRARY: library, ...extra };
}

/** The first truthy value of `condition()`, which may be async; fails naming `what` after the guard. */
export async function wait_for(condition, what, guard_ms = GUARD_MS) {
    const deadline = performance.now() + guard_ms;
    for (;;) {
        const value = await condition();
        if (value) return value;
        if (performance.now() > deadline) {
            throw new Error(`never came: ${what} (last seen: ${JSON.stringify(value)})`);
        }
        await pause(10);
    }
}
