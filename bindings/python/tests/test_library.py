"""How the package finds its library, what it refuses to load, and what an import costs.

Each case runs in an interpreter of its own: a library stays loaded for the life of its process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src"
LIBRARY = os.environ.get("SVANTIC_LIBRARY", "")
# What takes long to import, and what not every agent needs.
HEAVY = {
    "asyncio",
    "concurrent.futures",
    "dataclasses",
    "datetime",
    "decimal",
    "email",
    "http",
    "inspect",
    "logging",
}
HEAVY |= {"pydantic", "ssl", "urllib.request", "uuid"}
GUARD_S = 60
CONNECTOR = "import svantic; svantic.MeshConnector(svantic.Agent('desk', 'A desk'), client_id='i', client_secret='s').close()"


def python(
    *arguments: str, library: object = None, package: Path = PACKAGE
) -> subprocess.CompletedProcess[str]:
    """Runs a fresh interpreter with this library, or with none named."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SVANTIC_")}
    environment["PYTHONPATH"] = str(package)
    if library is not None:
        environment["SVANTIC_LIBRARY"] = str(library)
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a shared object of a line of C."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "these tests need a C compiler: apt-get install gcc libc6-dev"

    def compile_line(line: str) -> Path:
        source, built = tmp_path / "foreign.c", tmp_path / "foreign.so"
        source.write_text(line + "\n")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", str(built), str(source)], check=True, timeout=GUARD_S
        )
        return built

    return compile_line


def refusal(library: object = None, package: Path = PACKAGE) -> str:
    """The last line that a program ends with which cannot use its library."""
    ended = python("-c", CONNECTOR, library=library, package=package)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return ended.stderr.strip().splitlines()[-1]


def test_a_library_of_another_abi_version_is_refused_and_both_versions_are_named(
    compiled: Callable[[str], Path],
) -> None:
    other = compiled("unsigned svantic_abi_version(void) { return 99; }")
    said = refusal(other)
    assert said.startswith("ImportError: "), said
    assert str(other) in said and "99" in said and "1." in said, said


def test_a_shared_object_that_is_another_library_is_refused(compiled: Callable[[str], Path]) -> None:
    other = compiled("int something_else(void) { return 0; }")
    said = refusal(other)
    assert said.startswith("ImportError: "), said
    assert str(other) in said and "SVANTIC_LIBRARY" in said, said


def test_a_path_where_nothing_is_is_named_with_what_to_do(tmp_path: Path) -> None:
    said = refusal(tmp_path / "gone.so")
    assert said.startswith("ImportError: "), said
    assert str(tmp_path / "gone.so") in said and "SVANTIC_LIBRARY" in said, said


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("not a library\n")
    said = refusal(text)
    assert said.startswith("ImportError: "), said
    assert str(text) in said and "SVANTIC_LIBRARY" in said, said


def test_without_a_variable_the_library_beside_the_package_is_loaded(tmp_path: Path) -> None:
    package = tmp_path / "svantic"
    shutil.copytree(PACKAGE / "svantic", package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    said = refusal(package=tmp_path)
    assert str(package / "libsvantic.so") in said, said

    shutil.copy(LIBRARY, package / "libsvantic.so")
    ended = python("-c", f"{CONNECTOR}\nprint(open('/proc/self/maps').read())", package=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert str(package / "libsvantic.so") in ended.stdout


def test_the_variable_wins_over_the_library_beside_the_package(
    tmp_path: Path, compiled: Callable[[str], Path]
) -> None:
    package = tmp_path / "svantic"
    shutil.copytree(PACKAGE / "svantic", package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(LIBRARY, package / "libsvantic.so")
    other = compiled("unsigned svantic_abi_version(void) { return 99; }")
    assert str(other) in refusal(other, package=tmp_path)


def test_an_import_brings_no_heavy_module_and_its_cost_is_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Without orjson, which brings what it likes.
    code = """import sys
sys.modules["orjson"] = None
before = set(sys.modules)
import svantic
print(*sorted(set(sys.modules) - before))"""
    ended = python("-X", "importtime", "-c", code, library=LIBRARY)
    assert ended.returncode == 0, ended.stderr
    brought = set(ended.stdout.split())
    assert "svantic" in brought
    assert not brought & HEAVY, sorted(brought & HEAVY)

    lines = [line for line in ended.stderr.splitlines() if line.endswith(" | svantic")]
    assert len(lines) == 1, ended.stderr
    with capsys.disabled():
        print(
            f" [import svantic: {int(lines[0].split('|')[1]) / 1000:.1f} ms, {len(brought)} modules] ", end=""
        )
