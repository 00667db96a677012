// Whether a dispatch that your own HTTP server received comes from the mesh and is meant for this agent.
import { STATUS, SvanticError, type ErrorFields, type SvanticErrorOptions } from './errors';
import { library, type Out } from './library';
import { last_error } from './native_mesh';

/** The `iss` of the tokens with which the mesh signs dispatches. */
export const MESH_DISPATCH_JWT_ISSUER = 'svantic-mesh';

const REFUSE_IT = 'answer HTTP 401, and do not run the dispatch';

/** Why a dispatch was refused: the `code` of a {@link DispatchAuthVerifyError}. */
export type DispatchAuthVerifyErrorCode =
    | 'missing_envelope'
    | 'malformed_envelope'
    | 'unsupported_scheme'
    | 'bad_signature'
    | 'expired'
    | 'wrong_issuer'
    | 'wrong_audience'
    | 'secret_mismatch'
    | 'replayed'
    | 'replay_table_full';

/** How the mesh proves that a dispatch is its own. */
export type DispatchAuthScheme = 'svantic_jwt' | 'shared_secret';

/** What a verified dispatch says about itself. Where its token says nothing there is `null`. */
export interface DispatchAuthContext {
    /** How it was proven. */
    readonly scheme: DispatchAuthScheme;
    /** The instance that the dispatch is meant for, which is yours. */
    readonly instance_id: string;
    /** Whose dispatch it is. Signed; `null` with a shared secret. */
    readonly tenant_id: string | null;
    /** The type of agent that it is meant for. Signed; `null` with a shared secret. */
    readonly agent_type: string | null;
    /** Its id. Signed in a token; with a shared secret what the request calls itself, if it does. */
    readonly dispatch_id: string | null;
    /** When the token ends, in seconds since 1970; `null` with a shared secret, which does not end. */
    readonly expires_at: number | null;
}

/** What a dispatch is verified against. At least one of the two secrets is required. */
export interface VerifierConfig {
    /** This agent's instance id. */
    readonly instance_id: string;
    /** The secret with which the mesh signs; a dispatch by `svantic_jwt` is refused without it. */
    readonly signing_secret?: string | undefined;
    /** The secret that is shown as it is; a dispatch by `shared_secret` is refused without it. */
    readonly shared_secret?: string | undefined;
    /** How wrong the clocks may be, in seconds, 0 to 300; default 30. */
    readonly clock_skew_s?: number | undefined;
    /** Compared when it is given and the token names one. */
    readonly agent_type?: string | undefined;
    /** Compared when it is given and the token names one. */
    readonly tenant_id?: string | undefined;
}

/**
 * A dispatch does not prove that the mesh sent it. Do not run it; answer 401, or 503 when `retryable` is true
 * (`replay_table_full`).
 */
export class DispatchAuthVerifyError extends SvanticError {
    /** Why. */
    declare readonly code: DispatchAuthVerifyErrorCode;

    /** `message` says what is wrong with the dispatch. */
    constructor(
        message: string,
        options: SvanticErrorOptions & { readonly code: DispatchAuthVerifyErrorCode },
    ) {
        super(message, { status: 'AUTH', ...options });
    }

    static {
        Object.defineProperty(this.prototype, 'name', {
            value: 'DispatchAuthVerifyError',
            configurable: true,
            writable: true,
        });
    }
}

/**
 * Verifies the `svantic_auth` of a dispatch, and accepts each dispatch once.
 *
 * `data` is the data part of the request. Its JSON text (or bytes) is better than the object that a parser
 * made of it, since names that stand in it twice are then noticed. A token is accepted once in this process
 * until it expires, by whichever thread comes first. A `shared_secret` neither expires nor is it good only
 * once. Neither binds the arguments of the dispatch: TLS has to protect them.
 *
 * Synchronous, and needs no agent. Throws {@link DispatchAuthVerifyError} for a dispatch that must not be
 * run, {@link SvanticError} for a `config` with a value that is missing or wrong, and `TypeError` for one
 * that is no object.
 */
export function verify_dispatch_auth(data: unknown, config: VerifierConfig): DispatchAuthContext {
    if (typeof config !== 'object' || config === null) {
        throw new TypeError(
            'verify_dispatch_auth needs an object with instance_id and signing_secret or shared_secret',
        );
    }
    const options = JSON.stringify(config);
    const out: Out<string | null> = [null];
    const status = library().verify_dispatch_auth(text_of(data), options, out);
    if (status === STATUS.OK) return JSON.parse(out[0] ?? 'null') as DispatchAuthContext;
    throw status === STATUS.AUTH ? refusal() : last_error(status);
}

function refusal(): DispatchAuthVerifyError {
    const fields = JSON.parse(library().last_error_json()) as ErrorFields;
    return new DispatchAuthVerifyError(fields.message ?? "the dispatch is not the mesh's", {
        code: (fields.code ?? 'malformed_envelope') as DispatchAuthVerifyErrorCode,
        hint: fields.hint ?? REFUSE_IT,
        retryable: fields.retryable ?? false,
    });
}

/** What can be handed to C as it is: no other text than the one that the application's own parser sees. */
function text_of(data: unknown): string {
    if (data === undefined || data === null) return '{}'; // where nothing is, there is no envelope
    const text = ArrayBuffer.isView(data) ? decoded(data) : typeof data === 'string' ? data : encoded(data);
    if (text.includes('\0')) throw malformed('holds a NUL');
    if (!text.isWellFormed()) throw malformed('is not UTF-8');
    return text;
}

function decoded(bytes: ArrayBufferView): string {
    try {
        const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(buffer);
    } catch {
        throw malformed('is not UTF-8');
    }
}

function encoded(data: unknown): string {
    let text: unknown;
    try {
        text = JSON.stringify(data);
    } catch {
        // A cycle, a BigInt, or a toJSON() that throws: no request can have held it.
    }
    if (typeof text !== 'string') throw malformed('cannot be written as JSON');
    return text;
}

function malformed(why: string): DispatchAuthVerifyError {
    return new DispatchAuthVerifyError(`the data part of the dispatch ${why}`, {
        code: 'malformed_envelope',
        hint: REFUSE_IT,
    });
}
