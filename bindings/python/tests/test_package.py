"""What the package says about itself fits the repository that it is made in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import svantic

PROJECT = Path(__file__).resolve().parent.parent
ROOT = PROJECT.parent.parent


@pytest.mark.parametrize("name", ["LICENSE-APACHE", "LICENSE-MIT"])
def test_the_licence_files_are_those_of_the_repository(name: str) -> None:
    # Copies, because a licence file may not lie outside of its project, and a link would break in the sdist.
    assert (PROJECT / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_version_is_that_of_the_workspace() -> None:
    manifest = (ROOT / "Cargo.toml").read_text("utf-8")
    section = manifest.split("[workspace.package]")[1].split("[")[0]
    stated = re.search(r'^version = "(.+)"$', section, re.MULTILINE)
    assert stated is not None
    assert svantic.__version__ == stated.group(1)


def test_importing_the_package_takes_nothing_from_other_packages_but_orjson() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PROJECT / 'src')!r}); before = set(sys.modules)\n"
        "import svantic, svantic.aio\n"
        "for name in set(sys.modules) - before:\n"
        "    file = getattr(sys.modules[name], '__file__', None) or ''\n"
        "    if 'site-packages' in file: print(name.partition('.')[0])"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert set(ended.stdout.split()) <= {"orjson"}, ended.stdout
