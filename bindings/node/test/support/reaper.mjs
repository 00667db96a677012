// Ends what this process has started, however this process itself ends: SIGKILL and a crash included.
import { spawn } from 'node:child_process';

const ours = new Set();
let reaper;

// It reads until the pipe ends, which the kernel sees to, and then kills what is still on its list.
const PROGRAM = `
all=' '
while read -r what pid; do
    case $what in
        add) all="$all$pid " ;;
        end) all="\${all% $pid *} \${all##* $pid }" ;;
    esac
done
for pid in $all; do kill -KILL "$pid" 2>/dev/null; done
`;

function tell(line) {
    if (!reaper) {
        // In a session of its own: Ctrl-C at the terminal must not end it before its work is done.
        reaper = spawn('sh', ['-c', PROGRAM], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
        reaper.unref();
        reaper.stdin.unref();
        process.on('exit', () => {
            for (const child of ours) child.kill('SIGKILL');
        });
    }
    reaper.stdin.write(`${line}\n`);
}

/** Lets the child end with this process at the latest. */
export function adopt(child) {
    ours.add(child);
    tell(`add ${child.pid}`);
    child.once('exit', () => {
        ours.delete(child);
        tell(`end ${child.pid}`);
    });
    return child;
}
