//! `cargo xtask bench`: what a dispatch costs with this library, without it, and at the least.

use std::{fs, path::Path, process::Command, thread};

use serde_json::{Value, json};

use crate::{
    bench_clients::{self, CLIENTS},
    checkout::Checkout,
    failure::Failure,
    library,
    node::{Node, Package},
    python::{self, Interpreter, VirtualEnv, cannot_write, run},
    terminal::{Terminal, say},
};

const PEERS: &str = "benches/peers";
/// The client that the others are compared with, as the tables have it.
const BASELINE: &str = "Node, ws";
/// Where the plot of a whole run goes, from the repository's root.
const PLOT: &str = "docs/performance.svg";

/// How thoroughly.
struct Effort {
    rounds: u64,
    ms: u64,
    command: &'static str,
}

const QUICK: Effort = Effort {
    rounds: 2,
    ms: 200,
    command: "cargo xtask bench --quick",
};
const WHOLE: Effort = Effort {
    rounds: 5,
    ms: 600,
    command: "cargo xtask bench",
};

pub(crate) fn run_all(here: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let effort = match arguments {
        [] => WHOLE,
        [quick] if quick == "--quick" => QUICK,
        other => {
            let unwanted = other.join(" ");
            let text = format!("`cargo xtask bench` takes nothing but `--quick`, not `{unwanted}`");
            return Err(Failure::new(text));
        }
    };
    let screen = Terminal::for_stdout();
    screen.step(
        1,
        4,
        "Building the library as it ships, and what measures it",
    );
    library::build_to_ship(here)?;
    let tools = ["build", "--release", "-p", "svantic-bench", "--bins"];
    here.cargo(&tools)?;
    let release = here.target.join("release");
    let library = release.join(library::file_name());

    screen.step(2, 4, "Compiling the clients in C");
    let mut plan = Clients::default();
    plan.c(here, &library)?;

    screen.step(
        3,
        4,
        "Getting what Node and Python have without the library",
    );
    // A machine without one of the languages has a smaller table.
    if let Err(failure) = plan.node(here, &library) {
        plan.leave_out("Node", &failure);
    }
    if let Err(failure) = plan.python(here, &library) {
        plan.leave_out("Python", &failure);
    }
    let floor = release.join("svantic-floor");
    let floor = [floor.display().to_string(), "{port}".to_owned()];
    plan.add("floor: bytes, no JSON", "floor", &floor, &json!({}));

    screen.step(4, 4, "Measuring; leave the machine alone meanwhile");
    let folder = bench_clients::folder(here)?;
    let file = folder.join("plan.json");
    let plan = json!({
        "clients": plan.clients,
        "left_out": plan.left_out,
        "baseline": BASELINE,
        "rounds": effort.rounds,
        "ms": effort.ms,
        "heading": heading(effort.command),
    });
    fs::write(&file, plan.to_string()).map_err(|error| cannot_write(here, &file, &error))?;
    let mut compare = Command::new(release.join("svantic-compare"));
    compare.arg(&file).arg(&folder);
    run(compare, "svantic-compare")?;
    let svg = folder.join("performance.svg");
    if effort.rounds == WHOLE.rounds {
        let plot = here.root.join(PLOT);
        fs::copy(&svg, &plot).map_err(|error| cannot_write(here, &plot, &error))?;
        say(&format!("{PLOT} is written anew"));
    }
    let folder = here.shown(&folder);
    say(&format!(
        "{folder} has performance.md, performance.svg and performance.json"
    ));
    Ok(())
}

#[derive(Default)]
struct Clients {
    clients: Vec<Value>,
    left_out: Vec<String>,
}

impl Clients {
    fn add(&mut self, name: &str, kind: &str, command: &[String], environment: &Value) {
        self.clients.push(
            json!({"name": name, "kind": kind, "command": command, "environment": environment}),
        );
    }

    fn leave_out(&mut self, what: &str, failure: &Failure) {
        let text = failure.to_string();
        let why = text.lines().next().unwrap_or_default();
        say(&format!("{what} is left out: {why}"));
        self.left_out.push(format!("{what}: {why}"));
    }

    fn c(&mut self, here: &Checkout, library: &Path) -> Result<(), Failure> {
        let port = || "{port}".to_owned();
        let callbacks = bench_clients::compile(here, "echo_callbacks", library)?;
        let callbacks = [callbacks.display().to_string(), port()];
        for delivery in ["inline", "callbacks"] {
            let environment = json!({"BENCH_DELIVERY": delivery});
            let name = format!("libsvantic, C, {delivery}");
            self.add(&name, "ours", &callbacks, &environment);
        }
        let pull = bench_clients::compile(here, "echo_pull", library)?;
        let pull = [pull.display().to_string(), port()];
        self.add("libsvantic, C, pull", "ours", &pull, &json!({}));
        Ok(())
    }

    fn node(&mut self, here: &Checkout, library: &Path) -> Result<(), Failure> {
        let node = Node::find()?;
        say(&format!("found {node}"));
        node.install(here, PEERS, "bench-peers-installed-from.txt")?;
        let program = node.program().display().to_string();
        let package = Package::prepare(here, node)?;
        package.build()?;
        let command =
            |script: String| [program.clone(), in_the(here, &script), "{port}".to_owned()];
        let ours = command(format!("{CLIENTS}/echo_node.mjs"));
        let environment = json!({"SVANTIC_LIBRARY": library});
        self.add("libsvantic, Node", "ours", &ours, &environment);
        let peer = command(format!("{PEERS}/node_ws.mjs"));
        self.add(BASELINE, "peer", &peer, &json!({}));
        Ok(())
    }

    fn python(&mut self, here: &Checkout, library: &Path) -> Result<(), Failure> {
        let python = Interpreter::find()?;
        say(&format!("found {python}"));
        let name = format!("bench-{}", python.version());
        let peers = format!("{PEERS}/requirements.txt");
        let peers = VirtualEnv::with_requirements(here, &python, &name, &peers)?;
        let program = peers.python().display().to_string();
        let ours = [
            program.clone(),
            in_the(here, &format!("{CLIENTS}/echo_python.py")),
            "sync".to_owned(),
        ];
        let environment = json!({
            "SVANTIC_LIBRARY": library,
            "PYTHONPATH": in_the(here, &format!("{}/src", python::PROJECT)),
            "PYTHONDONTWRITEBYTECODE": "1",
        });
        self.add("libsvantic, Python", "ours", &ours, &environment);
        let peer = [
            program,
            in_the(here, &format!("{PEERS}/python_websockets.py")),
            "{port}".to_owned(),
        ];
        self.add("Python, websockets", "peer", &peer, &json!({}));
        Ok(())
    }
}

fn in_the(here: &Checkout, path: &str) -> String {
    here.root.join(path).display().to_string()
}

/// When, on what and how: figures without that are worth nothing.
fn heading(command: &str) -> String {
    let day = said_by("date", &["-u", "+%F"]).unwrap_or_default();
    let kernel = said_by("uname", &["-sr"]).unwrap_or_default();
    let rust = said_by("rustc", &["--version"]).unwrap_or_default();
    let processor = processor();
    let count = thread::available_parallelism().map_or(1, usize::from);
    format!("{day}: {processor}, {count} processors, {kernel}, {rust}. `{command}`")
}

/// What a program answers in one line.
pub(crate) fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let asked = Command::new(program).args(arguments).output().ok()?;
    let said = String::from_utf8(asked.stdout).ok()?;
    Some(said.lines().next()?.trim().to_owned())
}

/// The model's name, as Linux has it.
pub(crate) fn processor() -> String {
    let facts = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = facts.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
