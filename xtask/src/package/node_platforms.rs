//! The platforms that the npm package brings a library for: a package each, of which npm installs the one that fits.

use serde_json::{Map, Value, json};

/// One platform, under the names that Rust, Node and npm have for it.
pub(super) struct Platform {
    /// What `bindings/node/src/library.ts` asks for: `process.platform`, `process.arch`, and `-musl` with that libc.
    pub(super) package: &'static str,
    pub(super) rust_target: &'static str,
    pub(super) os: &'static str,
    pub(super) cpu: &'static str,
    pub(super) libc: &'static str,
    pub(super) library: &'static str,
}

pub(super) const PLATFORMS: [Platform; 1] = [Platform {
    package: "@svantic/native-linux-x64",
    rust_target: "x86_64-unknown-linux-gnu",
    os: "linux",
    cpu: "x64",
    libc: "glibc",
    library: "libsvantic.so",
}];

impl Platform {
    /// The one that this command runs on.
    pub(super) fn of_this_machine() -> Option<&'static Self> {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        PLATFORMS.iter().find(|platform| {
            let target = platform.rust_target;
            platform.os == os && target.starts_with(arch) && target.ends_with("-gnu")
        })
    }

    /// The whole `package.json`.
    pub(super) fn manifest(&self, version: &str, license: &Value, engines: &Value) -> Value {
        let (os, cpu, libc) = (self.os, self.cpu, self.libc);
        json!({
            "name": self.package,
            "version": version,
            "description": format!("The shared library of the package svantic for {os} on {cpu} with {libc}"),
            "license": license,
            "engines": engines,
            "os": [os],
            "cpu": [cpu],
            "libc": [libc],
            "files": [self.library],
            // Yarn leaves packages zipped, and the loader of the system wants a file.
            "preferUnplugged": true,
        })
    }
}

/// All of them, each in this very version: the library and what calls it are of one release.
pub(super) fn optional_dependencies(version: &str) -> Value {
    let all = PLATFORMS.iter();
    let all = all.map(|platform| (platform.package.to_owned(), json!(version)));
    Value::Object(all.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_as_the_loader_composes_the_name() {
        for platform in &PLATFORMS {
            let musl = if platform.libc == "musl" { "-musl" } else { "" };
            let name = format!("@svantic/native-{}-{}{musl}", platform.os, platform.cpu);
            assert_eq!(platform.package, name);
        }
    }

    #[test]
    fn npm_is_told_what_the_library_fits() {
        let platform = &PLATFORMS[0];
        let manifest = platform.manifest("1.2.3", &json!("MIT"), &json!({"node": ">=20"}));
        assert_eq!(manifest["version"], "1.2.3");
        assert_eq!(manifest["os"], json!([platform.os]));
        assert_eq!(manifest["cpu"], json!([platform.cpu]));
        assert_eq!(manifest["libc"], json!([platform.libc]));
        assert!(manifest.get("scripts").is_none());
    }

    #[test]
    fn every_platform_is_an_optional_dependency_of_the_same_version() {
        let all = optional_dependencies("1.2.3");
        for platform in &PLATFORMS {
            assert_eq!(all[platform.package], "1.2.3");
        }
    }
}
