// What an agent can do.
import type { CapabilitySessionContext } from './context';
import { check_keys } from './options';

/** A JSON Schema of an object. */
export interface CapabilitySchema {
    readonly type?: 'object';
    readonly properties?: Readonly<Record<string, unknown>>;
    readonly required?: readonly string[];
    readonly [keyword: string]: unknown;
}

/** What a capability is called with, unless its handler says more. */
export type CapabilityArgs = Record<string, unknown>;

/**
 * Runs a capability. `args` satisfy its schema.
 *
 * What it returns, or what its promise becomes, is the result: what `JSON.stringify` makes of it, and null
 * for undefined. What it throws is told to the mesh by its message alone; see `CapabilityError`.
 */
export type CapabilityHandler<Args extends object = CapabilityArgs> = (
    args: Args,
    context: CapabilitySessionContext,
) => unknown;

/** A capability as it is defined. */
export interface CapabilityConfig<Args extends object = CapabilityArgs> {
    /** The `skill_id` that the mesh calls: snake_case, and unique in the agent. */
    readonly name: string;
    /** What it does, for whoever chooses it. */
    readonly description: string;
    /** The JSON Schema of its arguments, which are checked before the handler runs. Default: any object. */
    readonly parameters?: CapabilitySchema | undefined;
    /** Words that the mesh shows with it. */
    readonly tags?: readonly string[] | undefined;
    /** The function. */
    readonly handler: CapabilityHandler<Args>;
}

const KEYS = ['name', 'description', 'parameters', 'tags', 'handler'];

/** A capability that was checked. */
export class Capability {
    readonly name: string;
    readonly description: string;
    readonly parameters: CapabilitySchema;
    readonly tags: readonly string[];
    readonly handler: CapabilityHandler;

    /** Throws a `TypeError` for what cannot work. */
    constructor(config: CapabilityConfig<never>) {
        if (config === null || typeof config !== 'object') {
            throw new TypeError(
                'define_capability() takes an object: {name, description, parameters, tags, handler}',
            );
        }
        const { name, description, parameters, tags, handler } = config as unknown as CapabilityConfig;
        if (typeof name !== 'string' || !/^[a-z][a-z0-9_]*$/.test(name)) {
            throw new TypeError(
                `the capability name ${shown(name)} is not snake_case ` +
                    '(a-z, 0-9 and _, starting with a letter)',
            );
        }
        check_keys(Object.keys(config), KEYS, {}, ` of capability ${shown(name)}`);
        if (typeof handler !== 'function') {
            const called = (handler as unknown) instanceof Promise;
            const why = called ? 'a promise: give the function, without calling it' : 'not a function';
            throw new TypeError(`the handler of capability ${shown(name)} is ${why}`);
        }
        if (typeof description !== 'string' || description === '') {
            throw new TypeError(`capability ${shown(name)} has no description`);
        }
        if (parameters !== undefined && (parameters === null || typeof parameters !== 'object')) {
            throw new TypeError(
                `the parameters of capability ${shown(name)} must be a JSON Schema, an object`,
            );
        }
        if (tags !== undefined && !(Array.isArray(tags) && tags.every((tag) => typeof tag === 'string'))) {
            throw new TypeError(`the tags of capability ${shown(name)} must be an array of strings`);
        }
        this.name = name;
        this.description = description;
        this.parameters = parameters ?? { type: 'object' };
        this.tags = tags === undefined ? [] : [...tags];
        this.handler = handler;
    }

    /** What the mesh is told. */
    spec(): Record<string, unknown> {
        const { name, description, parameters, tags } = this;
        return { name, description, parameters, tags };
    }
}

function shown(value: unknown): string {
    return typeof value === 'string' ? JSON.stringify(value) : String(value);
}
