"""parse_traceparent and parse_baggage, with the real library."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from svantic.trace import TraceParent, parse_baggage, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traceparent_is_two_ids_whatever_else_the_library_tells() -> None:
    parsed = parse_traceparent(f"00-{TRACE}-{SPAN}-01")
    assert parsed == TraceParent(trace_id=TRACE, span_id=SPAN)
    assert parsed is not None and (parsed.trace_id, parsed.span_id) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "x",
        f"01-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\0more",
        f"00-{TRACE}-{SPAN}-0\ud800",
        f"00-{TRACE[:-1]}é-{SPAN}-01",
    ],
)
def test_a_malformed_traceparent_is_none(text: str | None) -> None:
    assert parse_traceparent(text) is None


@pytest.mark.parametrize(
    ("text", "members"),
    [
        (None, {}),
        ("", {}),
        (
            "user=alice%20b;p=1, tier = gold ,broken, =x,u=%C3%A9",
            {"user": "alice b", "tier": "gold", "u": "é"},
        ),
        ('quoted="x"', {"quoted": '"x"'}),
        ("a=1,a=2", {"a": "2"}),
        ("nul=%00", {"nul": "\0"}),
        ("a=1\0,b=2", {}),
        ("a=\ud800", {"a": "?"}),
    ],
)
def test_baggage_is_decoded_and_what_is_malformed_left_out(text: str | None, members: dict[str, str]) -> None:
    assert parse_baggage(text) == members


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_both_parse_in_a_forked_child() -> None:
    assert parse_baggage("a=1") == {"a": "1"}
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(parse_traceparent, [f"00-{TRACE}-{SPAN}-01"]).get(60) == (TRACE, SPAN)
        assert pool.apply_async(parse_baggage, ["b=2"]).get(60) == {"b": "2"}
