// What the library and the package say to each other, overheard.
//
// The scenarios ask for more than the package shows its users: in which order the library said things, with which status
// it took an answer, and what it says to one that comes too late. This listens at `NativeMesh` of dist/native_mesh.js,
// through which all of it goes, and changes nothing on the way. Calls, events and outcomes are judged by what the package
// delivers.

import { AsyncLocalStorage } from 'node:async_hooks';

import { require_from_package } from './package.mjs';

const { NativeMesh } = require_from_package('./dist/native_mesh.js');

/** The numbers of the two commands that a driver is not given. */
export const FIRST_CONNECT = 0;
export const LEAVING = -1;

const OPERATIONS = ['connect', 'disconnect', 're_register', 'refresh_token', 'create_session', 'close_session'];

const [OK, INVALID_ARGUMENT, INVALID_JSON, NOT_FOUND] = [0, 1, 3, 7];

/** A command that the driver obeys. */
export class Command {
    /** Whether the library took it, so that its outcome is among the items. */
    was_taken = false;
    /** What the library gave as its result. */
    result = undefined;

    constructor(number) {
        this.key = `done ${number}`;
    }
}
