// Finds and loads the shared library, once a thread, and declares the functions that this package calls.
//
// Every call is koffi's synchronous form and returns at once: nothing waits for the mesh in one, and nothing
// is ever called back from the library.
import { createRequire } from 'node:module';
import path from 'node:path';
import { end_at_exit } from './exit';
import { words_of } from './errors';
import { koffi, type Definition, type LibraryHandle } from './koffi';

/** The version of the C interface that this package is written for. */
const ABI_VERSION = 1;

/** A handle of the library: a number of 63 bits, never a pointer that could be followed. */
export type Handle = bigint;
/** An out parameter: koffi writes its first place. */
export type Out<T> = [T];

/** The functions of the library, each by its C name without `svantic_`. */
export interface Library {
    readonly last_error_json: () => string;
    readonly shutdown: (timeout_ms: number) => number;
    readonly create: (config: string, out: Out<Handle>) => number;
    readonly create_transport: (config: string, out: Out<Handle>) => number;
    readonly free: (mesh: Handle) => void;
    readonly define_capability: (mesh: Handle, spec: string, run: null, data: null, release: null) => number;
    readonly network_changed: (mesh: Handle) => number;
    readonly connect_async: (mesh: Handle, timeout_ms: number, done: null, tag: number) => number;
    readonly disconnect_async: (mesh: Handle, timeout_ms: number, done: null, tag: number) => number;
    readonly re_register_async: (mesh: Handle, timeout_ms: number, done: null, tag: number) => number;
    readonly refresh_token: (mesh: Handle, jwt: string, timeout_ms: number) => number;
    readonly refresh_token_async: (
        mesh: Handle,
        jwt: string | null,
        timeout_ms: number,
        done: null,
        tag: number,
    ) => number;
    readonly create_session_async: (
        mesh: Handle,
        options: string | null,
        timeout_ms: number,
        done: null,
        tag: number,
    ) => number;
    readonly close_session_async: (
        mesh: Handle,
        id: string,
        timeout_ms: number,
        done: null,
        tag: number,
    ) => number;
    readonly request_async: (
        mesh: Handle,
        path: string,
        body: string,
        headers: string | null,
        timeout_ms: number,
        done: null,
        tag: number,
    ) => number;
    readonly close_transport_async: (
        mesh: Handle,
        code: number,
        reason: string,
        timeout_ms: number,
        done: null,
        tag: number,
    ) => number;
    readonly cancel: (mesh: Handle, tag: number) => number;
    readonly send_frame: (mesh: Handle, frame: string, length: number) => number;
    readonly socket_event: (mesh: Handle, event: string, length: number) => number;
    readonly next_flat: (
        mesh: Handle,
        max: number,
        timeout_ms: number,
        items: Out<string | null>,
        items_length: null,
        contexts: Out<string | null>,
        contexts_length: null,
        long_integers: null,
    ) => number;
    readonly answer_batch: (mesh: Handle, answers: Uint8Array, length: number, refused: null) => number;
    readonly serve_async: (
        mesh: Handle,
        request: string,
        body: Uint8Array | null,
        length: number,
        respond: null,
        tag: number,
    ) => number;
    readonly lifeline_fd: (mesh: Handle, out: Out<number>) => number;
    readonly get_state: (mesh: Handle, out: Out<number>) => number;
    readonly get_connected: (mesh: Handle, out: Out<boolean>) => number;
    readonly get_svantic_url: Property;
    readonly get_token: Property;
    readonly get_deployment_mode: Property;
    readonly get_instance_id: Property;
    readonly get_agent_card: Property;
    readonly get_snapshot: Property;
    readonly verify_dispatch_auth: (data: string, options: string, out: Out<string | null>) => number;
    readonly parse_traceparent: Property<string>;
    readonly parse_baggage: Property<string>;
    readonly extract_trace_context: (data: string, headers: string | null, out: Out<string | null>) => number;
}

/** A function that hands out a text; koffi copies and frees it. */
export type Property<Subject = Handle> = (subject: Subject, out: Out<string | null>) => number;

let loaded: Library | undefined;

/**
 * The loaded library. Throws an `Error` that says what to do when there is none, or none that fits this
 * package.
 */
export function library(): Library {
    return (loaded ??= load());
}

function load(): Library {
    const file = library_path();
    let object: LibraryHandle;
    try {
        object = koffi.load(file);
    } catch (error) {
        throw new Error(
            `libsvantic cannot be loaded from ${file}: ${words_of(error)}. ` +
                "Install the package for this platform, or set SVANTIC_LIBRARY to the library's path",
            { cause: error },
        );
    }
    const found = abi_version(object, file);
    if (found !== ABI_VERSION) {
        throw new Error(
            `${file} has the ABI version ${found}, and this package needs ${ABI_VERSION}. ` +
                'Install the package and the library of one release',
        );
    }
    const functions = declare(object, file);
    end_at_exit(functions);
    return functions;
}

/** Where the shared library is: `SVANTIC_LIBRARY`, else in the package for this platform. */
function library_path(): string {
    const chosen = process.env['SVANTIC_LIBRARY'];
    if (chosen) return path.resolve(chosen);
    const name = native_package();
    const extension = { darwin: 'dylib', win32: 'dll' }[process.platform as string] ?? 'so';
    const file = `${process.platform === 'win32' ? '' : 'lib'}svantic.${extension}`;
    try {
        return createRequire(__filename).resolve(`${name}/${file}`);
    } catch (error) {
        throw new Error(
            `libsvantic for this platform is not installed: ${name}/${file} is not found. ` +
                'Install without --omit=optional on the platform that it is to run on, ' +
                "or set SVANTIC_LIBRARY to the library's path",
            { cause: error },
        );
    }
}

function native_package(): string {
    const musl = process.platform === 'linux' && !has_glibc() ? '-musl' : '';
    return `@svantic/native-${process.platform}-${process.arch}${musl}`;
}

function has_glibc(): boolean {
    const reporter = process.report as typeof process.report & { excludeNetwork?: boolean };
    const before = reporter.excludeNetwork;
    // Otherwise it asks for the name of the other end of each connection, and a name service may be slow.
    reporter.excludeNetwork = true;
    const report = reporter.getReport() as { header?: { glibcVersionRuntime?: string } };
    reporter.excludeNetwork = before ?? false;
    return report.header?.glibcVersionRuntime !== undefined;
}

function abi_version(object: LibraryHandle, file: string): number {
    let function_: () => number;
    try {
        function_ = object.func('svantic_abi_version', 'uint32_t', []);
    } catch (error) {
        throw new Error(
            `${file} is another library than libsvantic: it has no svantic_abi_version. ` +
                'Set SVANTIC_LIBRARY to the right path',
            { cause: error },
        );
    }
    return function_();
}

function declare(object: LibraryHandle, file: string): Library {
    const out = (type: Definition) => koffi.out(koffi.pointer(type));
    // The text belongs to this side: koffi copies it and gives it back.
    const owned = koffi.disposable(null, 'str', object.func('svantic_string_free', 'void', ['void *']));
    const mesh = 'uintptr_t';
    const ms = 'uint32_t';
    // A function pointer that is always NULL with pull delivery, and the tag in the place of `user_data`.
    const done = ['void *', 'uintptr_t'];
    const property = [mesh, out(owned)];
    const parse = ['str', out(owned)];
    const prototypes: Record<keyof Library, [Definition, Definition[]]> = {
        last_error_json: ['str', []],
        shutdown: ['int32_t', [ms]],
        create: ['int32_t', ['str', out(mesh)]],
        create_transport: ['int32_t', ['str', out(mesh)]],
        free: ['void', [mesh]],
        define_capability: ['int32_t', [mesh, 'str', 'void *', 'void *', 'void *']],
        network_changed: ['int32_t', [mesh]],
        connect_async: ['int32_t', [mesh, ms, ...done]],
        disconnect_async: ['int32_t', [mesh, ms, ...done]],
        re_register_async: ['int32_t', [mesh, ms, ...done]],
        refresh_token: ['int32_t', [mesh, 'str', ms]],
        refresh_token_async: ['int32_t', [mesh, 'str', ms, ...done]],
        create_session_async: ['int32_t', [mesh, 'str', ms, ...done]],
        close_session_async: ['int32_t', [mesh, 'str', ms, ...done]],
        request_async: ['int32_t', [mesh, 'str', 'str', 'str', ms, ...done]],
        close_transport_async: ['int32_t', [mesh, 'uint32_t', 'str', ms, ...done]],
        cancel: ['int32_t', [mesh, 'uintptr_t']],
        send_frame: ['int32_t', [mesh, 'str', 'size_t']],
        socket_event: ['int32_t', [mesh, 'str', 'size_t']],
        next_flat: [
            'int32_t',
            [mesh, 'uint32_t', ms, out(owned), 'void *', out(owned), 'void *', 'void *'],
        ],
        answer_batch: ['int32_t', [mesh, 'void *', 'size_t', 'void *']],
        serve_async: ['int32_t', [mesh, 'str', 'void *', 'size_t', ...done]],
        lifeline_fd: ['int32_t', [mesh, out('int')]],
        get_state: ['int32_t', [mesh, out('int32_t')]],
        get_connected: ['int32_t', [mesh, out('bool')]],
        get_svantic_url: ['int32_t', property],
        get_token: ['int32_t', property],
        get_deployment_mode: ['int32_t', property],
        get_instance_id: ['int32_t', property],
        get_agent_card: ['int32_t', property],
        get_snapshot: ['int32_t', property],
        verify_dispatch_auth: ['int32_t', ['str', 'str', out(owned)]],
        parse_traceparent: ['int32_t', parse],
        parse_baggage: ['int32_t', parse],
        extract_trace_context: ['int32_t', ['str', 'str', out(owned)]],
    };
    const functions: Record<string, unknown> = {};
    for (const [name, [result, parameters]] of Object.entries(prototypes)) {
        try {
            functions[name] = object.func(`svantic_${name}`, result, parameters);
        } catch {
            // One that an older library of this ABI lacks is missed only where it is called.
            functions[name] = () => {
                throw new Error(
                    `${file} has no svantic_${name}. Install the package and the library of one release`,
                );
            };
        }
    }
    return functions as unknown as Library;
}
