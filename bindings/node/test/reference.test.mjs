// `docs/reference.md` has every name that a user may use: a new one without a line there fails here.
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import * as root from 'svantic';
import * as mesh from 'svantic/mesh';

const file = (name) => readFileSync(fileURLToPath(new URL(`../${name}`, import.meta.url)), 'utf8');
const REFERENCE = file('docs/reference.md');
const HEADER = file('../../include/svantic.h');

/** The text under a heading of the second level. */
function section(title, page = REFERENCE) {
    const parts = page.split(/^## (.+)$/m);
    const at = parts.indexOf(title);
    assert.ok(at > 0, `there is no section '${title}'`);
    return parts[at + 1];
}

/** The cells of the tables under a heading, without their head rows. */
function rows(title, page = REFERENCE) {
    const lines = section(title, page).split('\n');
    const is_rule = (line) => /^[|: -]+$/.test(line ?? '');
    const table = lines.filter((line, index) => {
        return line.startsWith('|') && !is_rule(line) && !(is_rule(lines[index + 1]) && lines[index + 1]);
    });
    assert.ok(table.length > 0, `no table under '${title}'`);
    return table.map((line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim()));
}

/** The names that stand in code quotes. */
function names_in(text) {
    const prose = text.replace(/^```.*?^```/gms, '');
    const quoted = [...prose.matchAll(/`([^`]+)`/g)];
    return new Set(quoted.flatMap(([, text]) => text.match(/[A-Za-z_]\w*/g) ?? []));
}

const first_cells = (title, page) => new Set(rows(title, page).flatMap(([first]) => [...names_in(first)]));

/** What a class shows beside what an EventEmitter has. */
function members(type) {
    const found = new Set();
    for (let at = type.prototype; at && at !== Object.prototype && at !== EventEmitter.prototype;) {
        for (const name of Object.getOwnPropertyNames(at)) found.add(name);
        at = Object.getPrototypeOf(at);
    }
    const own = Object.getOwnPropertyNames(type).filter((name) => typeof type[name] === 'function');
    return [...found, ...own].filter((name) => name !== 'constructor' && !name.startsWith('_'));
}

const missing = (wanted, described) => [...wanted].filter((name) => !described.has(name));

/** The text of a declaration file, and the names that it exports as types. */
function exported_types(entry) {
    const lists = [...file(`dist/${entry}.d.ts`).matchAll(/export (?:type )?\{([^}]*)\}/gs)];
    return lists.flatMap(([, list]) => list.match(/[A-Za-z_]\w*(?=\s*(?:,|$))/g) ?? []);
}

/** The properties of an interface or a class in a declaration file, those that it extends excepted. */
function properties(entry, name) {
    const declaration = new RegExp(`(?:interface|class) ${name}\\b[^{]*\\{\\n(.*?)^\\}`, 'ms');
    const found = declaration.exec(file(`dist/${entry}.d.ts`));
    assert.ok(found, `dist/${entry}.d.ts has no interface ${name}`);
    const text = found[1].replace(/\/\*.*?\*\//gs, '');
    const found_names = [...text.matchAll(/^ {4}(?:readonly |get )?(\w+)\??[:(]/gm)];
    return found_names.map(([, property]) => property).filter((property) => property !== 'constructor');
}

for (const [entry, exported] of [['index', root], ['mesh', mesh]]) {
    test(`every public name of ${entry} is described`, () => {
        const names = Object.keys(exported).filter((name) => {
            return !['default', 'module.exports', '__esModule'].includes(name);
        });
        assert.ok(names.length > 4);
        assert.deepEqual(missing([...names, ...exported_types(entry)], names_in(REFERENCE)), []);
    });
}

test('both entries have the same classes', () => {
    assert.equal(root.SvanticError, mesh.SvanticError);
});

for (const type of ['Agent', 'MeshConnector', 'CapabilitySessionContext']) {
    test(`every method and property of ${type} has its row`, async () => {
        const classes = { Agent: root.Agent, MeshConnector: mesh.MeshConnector };
        const names = classes[type] ? members(classes[type]) : properties('context', type);
        assert.ok(names.length > 5, String(names));
        assert.deepEqual(missing(names, first_cells(type)), []);
    });
}

test('every method and property of the lower parts has its row', () => {
    const described = first_cells('Lower parts');
    for (const type of [mesh.MeshAuth, mesh.RegistrationClient, mesh.WsTransport]) {
        assert.deepEqual(missing([type.name, ...members(type)], described), [], type.name);
    }
    const described_anywhere = names_in(section('Lower parts'));
    const of = (file, ...names) => names.flatMap((name) => properties(`lower/${file}`, name));
    const options = [
        ...of('transport_options', 'WsTransportOptions', 'WsHello'),
        ...of('registration_client', 'RegistrationClientOptions', 'RegistrationRequest', 'RegistrationReply'),
        ...of('mesh_auth', 'TokenCredentials'),
    ];
    assert.ok(options.length > 30, String(options));
    assert.deepEqual(missing(options, described_anywhere), []);
});

test('every option of an agent has a row', () => {
    const options = [...properties('identity', 'AgentIdentity'), ...properties('agent', 'AgentConfig')];
    assert.ok(options.length > 8, String(options));
    assert.deepEqual(missing(options, first_cells('Agent')), []);
});

test('every option of a connector has a row, and every row is an option', () => {
    const options = properties('options', 'MeshConnectorConfig');
    assert.ok(options.length > 30, String(options));
    const of_start = properties('agent', 'StartOptions').filter((name) => name !== 'signal');
    assert.deepEqual([...first_cells('Options')].sort(), [...options, ...of_start].sort());
});

test('what can be configured is what the library knows, but for what the package decides', () => {
    const page = file('../../README.md');
    const keys = first_cells('Configuration', page);
    for (const decided of ['delivery', 'workers']) assert.ok(keys.delete(decided), decided);
    const ours = new Set([...first_cells('Options'), ...first_cells('Agent')]);
    assert.deepEqual(missing(keys, ours), []);
});

test('every field of a capability is described', () => {
    assert.deepEqual(missing(properties('capability', 'CapabilityConfig'), first_cells('Handlers')), []);
});

/** The names and numbers of an enumeration of the header. */
function numbers(prefix) {
    const found = HEADER.matchAll(new RegExp(`^ +SVANTIC_${prefix}_(\\w+) = (\\d+)`, 'gm'));
    return Object.fromEntries([...found].map(([, name, number]) => [name, Number(number)]));
}

const lower_case = (table) => {
    return Object.fromEntries(Object.entries(table).map(([name, number]) => [name.toLowerCase(), number]));
};
const bare = (cell) => cell.replaceAll('`', '');

test('every event has its row with the number of the header', () => {
    const described = rows('Events').map(([name, number]) => [bare(name), Number(number)]);
    assert.deepEqual(Object.fromEntries(described), lower_case(numbers('EVENT')));
});

test('every event has a type for its data, and its fields are described', () => {
    const events = properties('events', 'MeshEvents');
    assert.deepEqual([...events].sort(), rows('Events').map(([name]) => bare(name)).sort());
});

test('every state has its row with the number of the header', () => {
    const described = rows('States').map(([number, name]) => [bare(name), Number(number)]);
    assert.deepEqual(Object.fromEntries(described), lower_case(numbers('STATE')));
});

test('every status has its row with the number of the header', () => {
    const table = rows('Errors').filter(([first]) => /^`[A-Z_]+`$/.test(first));
    const described = Object.fromEntries(table.map(([name, number]) => [bare(name), Number(number)]));
    const { OK, ...failures } = numbers('STATUS');
    assert.equal(OK, 0);
    assert.deepEqual(described, failures);
});

test('every property of an error is described', () => {
    const own = Object.keys(new root.SvanticError('x', { status: 'AUTH' }));
    assert.ok(own.length >= 5, String(own));
    assert.deepEqual(missing([...own, 'message', 'cause'], first_cells('Errors')), []);
});

test('the page has no heading without an entry in its list of contents, and no row twice', () => {
    const headings = [...REFERENCE.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
    for (const heading of headings) {
        const anchor = heading.toLowerCase().replaceAll(' ', '-');
        assert.ok(REFERENCE.includes(`[${heading}](#${anchor})`), heading);
    }
    const options = rows('Options').flatMap(([first]) => [...names_in(first)]);
    assert.deepEqual(options.length, new Set(options).size);
});
