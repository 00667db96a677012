"""Subinterpreters are refused with a message that says so, and the main interpreter is not harmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gateway import Gateway
from interpreters import interpreters

if TYPE_CHECKING:
    from conftest import RunPython

REFUSED = """
import sys

kind = sys.argv[1]
inside = '''
try:
    import svantic

    svantic.MeshConnector(svantic.Agent(name="inner", description="Lives inside"))
    print("ACCEPTED")
except BaseException as error:
    print("REFUSED", type(error).__name__, str(error).replace(chr(10), " "))
'''
if sys.version_info >= (3, 13):
    import _interpreters

    interpreter = _interpreters.create(kind)
    told = _interpreters.run_string(interpreter, inside)
    if told is not None:
        print("REFUSED", told.formatted)
    _interpreters.destroy(interpreter)
else:
    import _xxsubinterpreters

    options = {} if sys.version_info < (3, 9) else {"isolated": kind == "isolated"}
    interpreter = _xxsubinterpreters.create(**options)
    try:
        _xxsubinterpreters.run_string(interpreter, inside)
    except BaseException as error:
        print("REFUSED", error)
    _xxsubinterpreters.destroy(interpreter)

from svantic import Agent, MeshConnector

with MeshConnector(Agent(name="outer", description="Lives in the main interpreter")) as mesh:
    print("MAIN", mesh.connected)
"""


@pytest.mark.parametrize("kind", ["legacy", "isolated"])
@pytest.mark.parametrize("version", list(interpreters()))
def test_a_subinterpreter_is_refused_by_name_and_the_main_one_goes_on(
    gateway: Gateway, run_python: RunPython, version: str, kind: str
) -> None:
    program = run_python(REFUSED, python=interpreters()[version], gateway=gateway, arguments=[kind])
    refusal = program.wait_line("REFUSED")
    assert "subinterpreter" in refusal, program.story()
    assert "svantic" in refusal, program.story()
    assert program.wait_line("MAIN") == "True", program.story()
    assert program.wait() == 0, program.story()
    gateway.wait_gone()
