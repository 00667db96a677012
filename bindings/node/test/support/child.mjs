// Programs that run in a Node process of their own and see the package as an application does.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
    mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { GUARD_MS, environment_of, package_folder } from './environment.mjs';
import { adopt } from './reaper.mjs';

/** A folder of the test's own, in which `svantic` can be imported; it goes when the test ends. */
export function folder_with_package(test) {
    const folder = mkdtempSync(path.join(tmpdir(), 'svantic-node-'));
    test.after(() => rmSync(folder, { recursive: true, force: true }));
    mkdirSync(path.join(folder, 'node_modules'));
    symlinkSync(package_folder, path.join(folder, 'node_modules', 'svantic'), 'dir');
    return folder;
}

/**
 * Runs a program (its text) in a process of its own, and ends what is left of it with the test.
 *
 * `gateway` gives it its credentials, `env` more variables, `args` its arguments, `flags` those of Node;
 * `files` are further files beside it (`{'worker.mjs': text}`), `name` its file's name, `node` the binary.
 */
export function run_node(test, text, options = {}) {
    const { gateway, env = {}, args = [], flags = [], files = {}, name = 'program.mjs' } = options;
    const folder = folder_with_package(test);
    for (const [file, content] of Object.entries({ ...files, [name]: text })) {
        writeFileSync(path.join(folder, file), content);
    }
    const command = [options.node ?? process.execPath, ...flags, path.join(folder, name), ...args];
    const environment = environment_of({ ...gateway?.environment(), ...env });
    const program = new Program(command, environment, folder);
    test.after(() => program.kill());
    return program;
}

/** A program in a process of its own, whose lines are read as they come. */
export class Program {
    /** What it wrote so far, line by line. */
    lines = [];
    errors = [];
    #seen = 0;
    #ended;
    #news = [];

    constructor([file, ...args], env, cwd) {
        this.process = adopt(spawn(file, args, { cwd, env, stdio: ['pipe', 'pipe', 'pipe'] }));
        // It may be gone before it reads what it is told.
        this.process.stdin.on('error', () => {});
        this.#read(this.process.stdout, this.lines);
        this.#read(this.process.stderr, this.errors);
        // 'close' comes when the pipes have been read to their ends, too.
        this.#ended = once(this.process, 'close').then(([code, signal]) => {
            this.#tell();
            return signal ?? code;
        });
    }

    #read(pipe, into) {
        readline.createInterface({ input: pipe }).on('line', (line) => {
            into.push(line);
            this.#tell();
        });
    }

    #tell() {
        for (const wake of this.#news.splice(0)) wake();
    }

    get pid() {
        return this.process.pid;
    }

    get stdout() {
        return this.lines.join('\n');
    }

    get stderr() {
        return this.errors.join('\n');
    }

    get running() {
        return this.process.exitCode === null && this.process.signalCode === null;
    }

    /** The next line of stdout that begins with `start`, without that beginning; fails if none will come. */
    async wait_line(start, guard_ms = GUARD_MS) {
        const deadline = performance.now() + guard_ms;
        for (;;) {
            while (this.#seen < this.lines.length) {
                const line = this.lines[this.#seen++];
                if (line.startsWith(start)) return line.slice(start.length).trim();
            }
            if (!this.running && (await this.#ended) !== undefined && this.#seen === this.lines.length) {
                throw new Error(`it ended without a line '${start}'\n${this.story()}`);
            }
            const left = deadline - performance.now();
            if (left <= 0) throw new Error(`no line '${start}' came\n${this.story()}`);
            let timer;
            await new Promise((resolve) => {
                this.#news.push(resolve);
                timer = setTimeout(resolve, left);
            });
            clearTimeout(timer);
        }
    }

    /** One line to its stdin. */
    say(line = '') {
        this.process.stdin.write(`${line}\n`);
    }

    /** Sends a signal. */
    signal(name) {
        this.process.kill(name);
    }

    /** Its exit code, or the name of the signal that ended it; a program that hangs fails the test. */
    async wait(guard_ms = GUARD_MS) {
        let timer;
        const guard = new Promise((resolve) => (timer = setTimeout(resolve, guard_ms, 'hangs')));
        const how = await Promise.race([this.#ended, guard]);
        clearTimeout(timer);
        if (how === 'hangs') {
            const story = this.story();
            await this.kill();
            throw new Error(`it hangs\n${story}`);
        }
        return how;
    }

    /** Ends it at once. */
    async kill() {
        if (this.running) this.process.kill('SIGKILL');
        // A grandchild may hold the pipes; what it writes is not waited for.
        if (this.running) await once(this.process, 'exit');
        for (const pipe of this.process.stdio) pipe.destroy();
    }

    /** Everything a person wants to see of a program that did wrong. */
    story() {
        const { exitCode, signalCode } = this.process;
        const state = this.running ? `running\n${threads_of(this.pid)}` : `ended: ${signalCode ?? exitCode}`;
        return `${state}\n--- stdout\n${tail(this.lines)}\n--- stderr\n${tail(this.errors)}`;
    }
}

function tail(lines, most = 200) {
    return lines.length > most ? ['…', ...lines.slice(-most)].join('\n') : lines.join('\n');
}

/** What each thread waits in, as far as the kernel tells. */
function threads_of(pid) {
    try {
        return readdirSync(`/proc/${pid}/task`).map((thread) => {
            const of = (file) => readFileSync(`/proc/${pid}/task/${thread}/${file}`, 'utf8').trim();
            return `thread ${thread} ${of('comm')}: ${of('wchan')}`;
        }).join('\n');
    } catch (error) {
        return `(${error.code ?? error.message})`;
    }
}
