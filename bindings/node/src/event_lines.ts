// What the log says about events: an outage must not be silent in a program that listens to none.
import type { MeshEvent, MeshEventName, MeshEvents } from './events';
import type { LogLevel } from './logger';

type Lines = { [Name in MeshEventName]?: (data: MeshEvents[Name]) => [LogLevel, string] };

const LEVELS: Readonly<Record<string, LogLevel>> = { error: 'error', warn: 'warn', info: 'info' };

const seconds = (ms: number) => (ms / 1000).toFixed(1);

// Not the events of single calls, of which an overload brings thousands: `stats` counts them.
const LINES: Lines = {
    log: ({ level, message }) => [LEVELS[level] ?? 'debug', message],
    connected: ({ connection, resumed }) => [
        'info',
        `connection ${connection} to the mesh is open${resumed ? ', and goes on where it was' : ''}`,
    ],
    backoff: ({ message, attempt, delay_ms }) => [
        'warn',
        `${message}; attempt ${attempt + 1} follows in ${seconds(delay_ms)} s`,
    ],
    auth_failed: ({ message, code }) => ['error', `${message} [${code}]`],
    token_expiring: ({ seconds_left }) => [
        'warn',
        `the token expires in ${seconds_left} s; give a new one with refresh_token(jwt)`,
    ],
    token_expired: () => ['error', 'the token has expired; give a new one with refresh_token(jwt)'],
    instance_forgotten: () => ['warn', 'the mesh had lost the registration; it is made again'],
    superseded: () => [
        'error',
        'another process has taken this instance id; give each process one of its own',
    ],
    session_closed: ({ session_id, reason }) => ['warn', `session ${session_id} has ended: ${reason}`],
    stalled: ({ stalled, oldest_ms }) =>
        stalled
            ? ['warn', `a call has waited ${seconds(oldest_ms ?? 0)} s to be taken: this process is too busy`]
            : ['warn', 'calls are taken in time again'],
    missed: ({ count }) => ['warn', `${count} events were dropped`],
    failed: ({ message, code }) => ['error', `given up: ${message} [${code}]`],
};

/** The line about an event, if there is one. */
export function line_of(event: MeshEvent): [LogLevel, string] | undefined {
    const line = Object.hasOwn(LINES, event.name)
        ? (LINES[event.name] as (data: unknown) => [LogLevel, string])
        : undefined;
    return line?.(event.data);
}
