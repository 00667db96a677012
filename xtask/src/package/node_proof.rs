//! Tries the npm packages the way a user would: in an empty folder outside the checkout, on a path without Rust.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use super::{dispatch, native, node_platforms::Platform};
use crate::{
    checkout::Checkout,
    failure::Failure,
    node::Node,
    python::{cannot_write, run},
    terminal::{Terminal, say},
};

/// As the README has it, an ECMAScript module.
const EXAMPLE: &str = "examples/node/agent.mjs";

/// The same for those who `require`.
const COMMONJS: &str = "\
const { Agent, CapabilityError } = require('svantic');

const agent = new Agent({ name: 'order-desk', description: 'Knows every order' });

agent.define_capability({
    name: 'find_order',
    description: 'Says where an order is.',
    parameters: { type: 'object', properties: { order_id: { type: 'string' } }, required: ['order_id'] },
    handler: async ({ order_id }) => {
        if (order_id !== 'A17') throw new CapabilityError('no such order');
        return { order_id, state: 'shipped' };
    },
});

agent.start();
";

/// What the folder says about itself: no Rust in reach, all from here, one version throughout, one copy of everything.
const FACTS: &str = r"
const assert = require('node:assert');
const fs = require('node:fs');
const { createRequire } = require('node:module');
const path = require('node:path');

const [version, abi, native, file] = process.argv.slice(2);
for (const folder of process.env.PATH.split(':')) {
    for (const tool of ['cargo', 'rustc', 'cc', 'node-gyp']) {
        assert(!fs.existsSync(path.join(folder, tool)), `${tool} is in reach: ${folder}`);
    }
}
const home = fs.realpathSync(__dirname) + path.sep;
for (const name of ['svantic', 'svantic/mesh', `${native}/${file}`, 'koffi']) {
    const found = require.resolve(name);
    assert(found.startsWith(home), `${name} comes from ${found}, not from ${home}`);
}
const koffi = createRequire(require.resolve('svantic'))('koffi');
const library = koffi.load(require.resolve(`${native}/${file}`));
const versions = {
    library: library.func('svantic_version', 'str', [])(),
    VERSION: require('svantic').VERSION,
    svantic: require('svantic/package.json').version,
    native: require(`${native}/package.json`).version,
};
for (const [of, found] of Object.entries(versions)) assert.strictEqual(found, version, `the version of ${of}`);
assert.strictEqual(String(library.func('svantic_abi_version', 'uint32_t', [])()), abi, 'the ABI version');
Promise.all([import('svantic'), import('svantic/mesh')]).then(([root, mesh]) => {
    assert.strictEqual(root.Agent, require('svantic').Agent, 'import and require have an Agent each');
    assert.strictEqual(mesh.MeshConnector, require('svantic/mesh').MeshConnector);
    assert.strictEqual(mesh.SvanticError, root.SvanticError, 'the two entries have a SvanticError each');
    console.log(`  svantic ${version}, ABI version ${abi}, by import and by require`);
});
";

/// Prints why the package is of no use, whether that shows when it is loaded or with the first connector.
const LOAD: &str = r"
try {
    const { Agent } = require('svantic');
    const { MeshConnector } = require('svantic/mesh');
    const agent = new Agent({ name: 'order-desk', description: 'Knows every order' });
    new MeshConnector(agent, { client_id: 'nobody', client_secret: 'nothing' });
    console.log('there is a connector');
} catch (error) {
    console.log(error.message);
}
";

/// As Node on a musl reports itself: without a version of glibc.
const WITHOUT_GLIBC: &str = r"
process.report.getReport = () => ({ header: {} });
";

/// A folder with these packages in it; dropped, it goes.
pub(super) struct Installed {
    folder: PathBuf,
}

impl Installed {
    /// koffi comes from where npm finds it, its install script does not run: its library comes as a package too.
    pub(super) fn new(here: &Checkout, node: &Node, tarballs: &[&Path]) -> Result<Self, Failure> {
        let folder = std::env::temp_dir();
        let this = Self {
            folder: folder.join(format!("svantic-npm-proof-{}", std::process::id())),
        };
        let programs = this.folder.join("bin");
        fs::create_dir_all(&programs)
            .and_then(|()| symlink(node.program(), programs.join("node")))
            .map_err(|error| cannot_write(here, &programs, &error))?;
        for (file, text) in [
            ("package.json", "{\"private\": true}"),
            ("agent.cjs", COMMONJS),
            ("facts.cjs", FACTS),
            ("load.cjs", LOAD),
            ("without_glibc.cjs", WITHOUT_GLIBC),
        ] {
            let file = this.folder.join(file);
            fs::write(&file, text).map_err(|error| cannot_write(here, &file, &error))?;
        }
        let example = this.folder.join("agent.mjs");
        fs::copy(here.root.join(EXAMPLE), &example)
            .map_err(|error| cannot_write(here, &example, &error))?;
        let mut npm = node.npm();
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"])
            .args(["--loglevel=error", "--prefer-offline"])
            .args(tarballs)
            .current_dir(&this.folder);
        run(npm, "npm install")?;
        Ok(this)
    }

    /// Loads everything in both ways and compares all versions.
    pub(super) fn tells_its_versions(
        &self,
        here: &Checkout,
        platform: &Platform,
    ) -> Result<(), Failure> {
        let mut node = self.node("facts.cjs");
        node.args([env!("CARGO_PKG_VERSION"), &native::abi_version(here)?])
            .args([platform.package, platform.library]);
        run(node, "node facts.cjs")
    }

    /// Lets the example and its twin each serve a dispatch of a local gateway, and leave.
    pub(super) fn answers_dispatches(&self, screen: Terminal) -> Result<(), Failure> {
        for file in ["agent.mjs", "agent.cjs"] {
            dispatch::is_answered_by(self.node(file), file, screen)?;
        }
        Ok(())
    }

    /// A library for glibc does not load with musl, so that one wants a package of its own.
    pub(super) fn looks_for_another_libc(&self, platform: &Platform) -> Result<(), Failure> {
        let mut node = self.node("load.cjs");
        // Options of Node stand before the program, but it takes some from here too.
        node.env("NODE_OPTIONS", "--require=./without_glibc.cjs");
        let said = Self::said_by(node)?;
        names(&said, &format!("{}-musl", platform.package))
    }

    /// Takes the package with the library away, then koffi's.
    pub(super) fn says_what_is_missing(&mut self, platform: &Platform) -> Result<(), Failure> {
        self.leave_out(platform.package)?;
        let said = Self::said_by(self.node("load.cjs"))?;
        names(&said, platform.package)?;
        names(&said, "SVANTIC_LIBRARY")?;
        say(&format!("  {}", said.trim()));
        // `npm install --omit=optional`, and a lock file of another system, leave out that of koffi as well.
        self.leave_out("@koromix")?;
        let said = Self::said_by(self.node("load.cjs"))?;
        names(&said, "koffi")?;
        names(&said, "--omit=optional")?;
        say(&format!("  {}", said.trim()));
        Ok(())
    }

    fn leave_out(&self, package: &str) -> Result<(), Failure> {
        fs::remove_dir_all(self.folder.join("node_modules").join(package))
            .map_err(|error| Failure::new(format!("npm has not installed {package}: {error}")))
    }

    fn said_by(mut node: Command) -> Result<String, Failure> {
        let asked = node
            .output()
            .map_err(|error| Failure::new(format!("cannot run node: {error}")))?;
        let complaint = String::from_utf8_lossy(&asked.stderr);
        if asked.status.success() {
            return Ok(String::from_utf8_lossy(&asked.stdout).into_owned());
        }
        let text = format!("node ended with {}: {complaint}", asked.status);
        Err(Failure::new(text))
    }

    /// A Node that finds no other program.
    fn node(&self, file: &str) -> Command {
        let programs = self.folder.join("bin");
        let mut node = Command::new(programs.join("node"));
        crate::node::without_node_variables(&mut node);
        node.arg(self.folder.join(file))
            .env("PATH", &programs)
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("SVANTIC_LIBRARY")
            .current_dir(&self.folder);
        node
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn names(said: &str, wanted: &str) -> Result<(), Failure> {
    if said.contains(wanted) {
        return Ok(());
    }
    let text = format!("without its library, the package does not name {wanted}");
    Err(Failure::new(text).hint(format!("It says: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_leaves_the_package_unnamed_is_no_help() {
        assert!(
            names(
                "the module @svantic/native-linux-x64 is missing",
                "@svantic/native-linux-x64"
            )
            .is_ok()
        );
        let refused = names("cannot load", "@svantic/native-linux-x64").unwrap_err();
        assert!(refused.to_string().contains("cannot load"));
    }

    #[test]
    fn the_program_that_requires_is_the_example_with_other_first_and_last_lines() {
        let example = include_str!("../../../examples/node/agent.mjs");
        let body = |text: &str| {
            let from = text.find("const agent").unwrap();
            let to = text.find("agent.start()").unwrap();
            text[from..to].trim_end_matches("await ").to_owned()
        };
        assert_eq!(body(example), body(COMMONJS));
    }
}
