"""Exceptions without a network."""

from __future__ import annotations

import builtins
import pickle

import pytest

import svantic
from svantic.errors import from_fields


def test_each_status_has_its_class_and_the_text_is_message_code_hint() -> None:
    error = from_fields(
        {"status": 20, "code": "SLOW", "message": "too slow", "hint": "wait", "retryable": True}
    )
    assert type(error) is svantic.TimeoutError and isinstance(error, builtins.TimeoutError)
    assert str(error) == "too slow [SLOW]. wait" and error.retryable
    assert type(from_fields({"status": 23, "message": ""})) is svantic.TlsError
    assert type(from_fields({"status": 77, "code": "NEW", "message": ""})) is svantic.SvanticError


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(svantic.AuthError("no", code="UNAUTHORIZED", http_status=401)))
    assert (error.code, error.http_status, error.status) == ("UNAUTHORIZED", 401, 24)
    failure = pickle.loads(pickle.dumps(svantic.CapabilityError("no", "BUSY")))
    assert (failure.message, failure.code) == ("no", "BUSY")


@pytest.mark.parametrize("code", ["", "x" * 129, "a\nb"])
def test_a_code_that_the_wire_cannot_carry_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="code"):
        svantic.CapabilityError("no", code)
