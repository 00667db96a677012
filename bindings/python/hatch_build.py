"""Puts the shared library into the wheel, and what cargo needs to build it into the source distribution.

Where the library comes from, in this order:

SVANTIC_BUILD_LIBRARY   a library that is built already. It needs its platform tag beside it,
SVANTIC_BUILD_PLATFORM  for instance `manylinux_2_17_x86_64.manylinux2014_x86_64`: only who built it knows its glibc.
cargo                   otherwise; SVANTIC_BUILD_PROFILE names another profile than `release`.

`cargo xtask package python` uses the first two; `pip install` of a source distribution the last.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "libsvantic.so"
HERE = Path(__file__).resolve().parent
# Where the Rust workspace is: in a source distribution, and in the repository.
IN_SDIST = HERE / "rust"
IN_REPOSITORY = HERE.parent.parent
# A workspace has to be whole for cargo to read it, so the members that the library does without come along.
CRATES = (".", "benches/comparison", "gateway", "rig", "schema", "xtask")
FILES = ("Cargo.toml", "Cargo.lock", "build.rs", "include/svantic.h")


def workspace() -> Path:
    """The root of the Rust workspace."""
    for root in (IN_SDIST, IN_REPOSITORY):
        if (root / "Cargo.toml").is_file():
            return root
    raise RuntimeError(
        f"there is no Rust workspace, neither in {IN_SDIST} nor in {IN_REPOSITORY}; build in the repository "
        "or in an unpacked source distribution"
    )


def workspace_version() -> str:
    """The version of the library, of which the package's is made: it stands once, in Cargo.toml."""
    manifest = workspace() / "Cargo.toml"
    found = re.search(
        r'^\[workspace\.package\]$[^\[]*?^version = "([^"]+)"$', manifest.read_text("utf-8"), re.MULTILINE
    )
    if found is None:
        raise RuntimeError(f"{manifest} has no version in [workspace.package]")
    return found.group(1)


def sources(root: Path) -> Iterator[Path]:
    """What cargo needs of the workspace, relative to its root, in a fixed order."""
    for name in FILES:
        yield Path(name)
    for crate in CRATES:
        folders = ["src"]
        if crate != ".":
            yield Path(crate, "Cargo.toml")
            folders.append("benches")  # cargo misses a bench that a manifest names, though it builds none
        for folder in folders:
            for file in sorted((root / crate / folder).rglob("*.rs")):
                yield file.relative_to(root)


class LibraryHook(BuildHookInterface[Any]):
    """What hatchling calls before it builds a wheel or a source distribution."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the library or its sources. An editable install gets neither: SVANTIC_LIBRARY names its library."""
        if self.target_name == "sdist":
            root = workspace()
            for source in sources(root):
                build_data["force_include"][str(root / source)] = f"rust/{source.as_posix()}"
            return
        if version == "editable":
            return
        library, platform = given_library() or (built_library(), local_platform())
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["force_include"][str(library)] = f"svantic/{LIBRARY}"


def given_library() -> tuple[Path, str] | None:
    """The library and the platform that the environment names."""
    library = os.environ.get("SVANTIC_BUILD_LIBRARY")
    platform = os.environ.get("SVANTIC_BUILD_PLATFORM")
    if not library and not platform:
        return None
    if not library or not platform:
        raise RuntimeError(
            "SVANTIC_BUILD_LIBRARY and SVANTIC_BUILD_PLATFORM belong together; one of them is not set"
        )
    file = Path(library).resolve()
    if not file.is_file():
        raise RuntimeError(f"SVANTIC_BUILD_LIBRARY is {library}, and there is no such file")
    return file, platform


def local_platform() -> str:
    """The tag of a wheel that is only good for the machine that built it."""
    return re.sub(r"[-.]", "_", sysconfig.get_platform())


def built_library() -> Path:
    """Has cargo build the library."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise RuntimeError(
            "there is no wheel of svantic for this platform, and no cargo on the PATH to build one: install Rust "
            "1.91 or newer with rustup (https://rustup.rs), and a C compiler"
        )
    # One crate type only: with an rlib among them cargo applies no link-time optimisation.
    command = [cargo, "rustc", "--locked", "--package", "svantic", "--lib", "--crate-type", "cdylib"]
    command += ["--profile", os.environ.get("SVANTIC_BUILD_PROFILE") or "release"]
    command += ["--message-format", "json-render-diagnostics"]
    # In its root, so that a rust-toolchain.toml or .cargo/config.toml of whoever builds counts as it does for cargo.
    done = subprocess.run(command, cwd=workspace(), stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise RuntimeError(
            f"cargo did not build the library (exit status {done.returncode}); it says why above"
        )
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "svantic":
            for file in message["filenames"]:
                if Path(file).name == LIBRARY:
                    return Path(file)
    raise RuntimeError(f"cargo built no {LIBRARY}: this version of the package is for Linux only")
