// Tokens of the mesh, for programs that keep them themselves.
import { SvanticError } from '../errors';
import type { OperationOptions } from '../operation';
import { check_keys } from '../options';
import { NETWORK_KEYS, caller, required_text, single_call, type NetworkOptions } from './single_call';

/** What is exchanged for a token. */
export interface TokenCredentials {
    /** The client's id. */
    readonly client_id: string;
    /** Its secret. */
    readonly client_secret: string;
    /** The type of agent that the token is for. */
    readonly agent_type: string;
    /** How long the token is to live, in seconds; default: what the mesh gives, a day. */
    readonly expires_in?: number | undefined;
}

const PATH = '/auth/get_token';

/** Exchanges client credentials for tokens. */
export class MeshAuth {
    /**
     * A token of the mesh at `base_url`: a JWT, and a secret.
     *
     * Asks once: whether it is worth to ask again `retryable` tells. Rejects with {@link SvanticError}:
     * status `AUTH` when the mesh refuses the credentials, `NETWORK`, `TLS`, `TIMEOUT` (after `timeout_ms`,
     * default 30,000), `REMOTE`, or `PROTOCOL`; with the signal's reason; and with a `TypeError` for what is
     * no text.
     */
    static async get_token(
        base_url: string,
        credentials: TokenCredentials,
        options: OperationOptions & NetworkOptions = {},
    ): Promise<string> {
        check_keys(Object.keys(options), [...NETWORK_KEYS, 'timeout_ms', 'signal'], {});
        const { timeout_ms, signal, logger, ...network } = options;
        const { client_id, client_secret, agent_type, expires_in } = credentials;
        const config = {
            ...network,
            ...caller('MeshAuth', 'asks for a token', 'mesh-auth'),
            svantic_url: required_text(base_url, 'base_url'),
            client_id: required_text(client_id, 'client_id'),
            client_secret: required_text(client_secret, 'client_secret'),
            agent_type: required_text(agent_type, 'agent_type'),
        };
        return single_call(config, logger, async (session) => {
            const limits = { timeout_ms, signal };
            if (expires_in === undefined) {
                await session.run((native, ms, tag) => native.refresh_token(ms, tag), limits);
                return session.native.token() ?? no_token();
            }
            // The library asks for tokens of the usual life; one of those asks for the other.
            const body = { client_id, client_secret, agent_type, expires_in };
            return token_of(
                await session.run(
                    (native, ms, tag) => native.request(PATH, body, undefined, ms, tag),
                    limits,
                ),
            );
        });
    }
}

function token_of(reply: unknown): string {
    const fields = typeof reply === 'object' && reply !== null ? (reply as Record<string, unknown>) : {};
    return typeof fields['token'] === 'string' ? fields['token'] : no_token();
}

function no_token(): never {
    throw new SvanticError('the mesh has answered the request for a token without one', {
        status: 'PROTOCOL',
        code: 'NO_TOKEN',
    });
}
