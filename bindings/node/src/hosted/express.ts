// An agent on an app that is there already.
import { CARD_PATH, type Answering } from './exchange';
import { answer, type AgentRequestListener, type OpenResponses } from './node_http';

/** What an agent is mounted on: an app or a router of Express, or what has the same two methods. */
export interface AgentApp {
    get(path: string, listener: AgentRequestListener): unknown;
    post(path: string, listener: AgentRequestListener): unknown;
}

/** Throws a `TypeError` for what is no app. */
export function check_app(app: unknown): AgentApp {
    const { get, post } = (app ?? {}) as Record<string, unknown>;
    if (typeof get !== 'function' || typeof post !== 'function') {
        throw new TypeError(
            'app must be an app or a router of Express. For node:http there is agent.request_listener(), ' +
                'for servers in the style of fetch agent.fetch',
        );
    }
    return app as AgentApp;
}

/** Mounts the card and the endpoint. The paths are said anew: an app cuts off what is before them. */
export function mount(app: AgentApp, endpoint_path: string, answering: Answering, open: OpenResponses): void {
    const answer_at = (path: string): AgentRequestListener => {
        return (request, response) => answer(answering, open, request, response, path);
    };
    app.get(CARD_PATH, answer_at(CARD_PATH));
    app.post(endpoint_path, answer_at(endpoint_path));
}
