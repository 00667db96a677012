"""JSON in and out: orjson when it is installed, else the standard library, with one behaviour for both.

What becomes what, on the way out:

- `dict` and every other mapping: an object. Keys may be str, int, float, bool, None, an Enum, a UUID, a
  date, time or datetime, a Decimal or a path; they become the text that their value would have. The last of
  two equal keys wins.
- list, tuple (named ones too), set, frozenset, deque, range, the views of a dict and every other sequence
  or set: an array.
- str, int (of any size), float, bool, None and their subclasses: themselves. NaN and the infinities:
  `null`, as JavaScript's `JSON.stringify` writes them.
- Enum: its value. Dataclass: an object of its fields. Pydantic model: `model_dump(mode="json")`.
- datetime, date, time: ISO 8601 with the offset that they have. UUID, Decimal (exact) and paths: text.
- bytes, bytearray, memoryview: base64 text.

Everything else is a TypeError that names the type and where it is, as are a text with a lone surrogate
(UTF-8 cannot carry it), and a value that contains itself or is more than 64 levels deep where the encoder
minds. Iterators and generators are refused on purpose: encoding would consume them.

The encoders differ at their edges only, so plain values go straight through and what one of them refuses is
made plain by `_encodable` and encoded again.
"""

# Decoded JSON and evaluated hints have no static type, so what is inside them is unknown by nature.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false

from __future__ import annotations

import json
from typing import Any, Callable

__all__ = ["dumps", "loads", "loads_short"]


def _default(value: Any) -> Any:
    from ._encodable import simpler

    return simpler(value)


# Circles end by the interpreter's recursion limit, so nothing need be remembered on the way.
_encode = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    separators=(",", ":"),
    default=_default,
).encode


def _dumps_json(value: Any) -> bytes:
    try:
        return _encode(value).encode("utf-8")
    except (
        Exception
    ):  # NaN, a key, a surrogate, or an object that failed: `plain` mends it or says where it is
        pass
    from ._encodable import plain

    simple = plain(value)
    try:
        return _encode(simple).encode("utf-8")
    except ValueError as error:  # an int of more digits than the interpreter writes
        raise TypeError(f"a value cannot be written as JSON: {error}") from error


def _int_of_any_length(digits: str) -> int | float:
    try:
        return int(digits)
    except (
        ValueError
    ):  # more digits than sys.set_int_max_str_digits() allows: a guard against slow conversions
        return float(digits)


_decode = json.JSONDecoder().decode
_decode_long = json.JSONDecoder(parse_int=_int_of_any_length).decode


def _loads_json(text: bytes | str) -> Any:
    if not isinstance(text, str):
        text = str(text, "utf-8")
    try:
        return _decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _decode_long(text)


dumps: Callable[[Any], bytes]
loads: Callable[[bytes | str], Any]
loads_short: Callable[[bytes | str], Any]

try:
    import orjson as _orjson
except ImportError:
    dumps = _dumps_json
    loads = loads_short = _loads_json
else:
    # Dates and dataclasses come to _default, which treats them as the standard encoder's hook does.
    _OPTIONS = _orjson.OPT_PASSTHROUGH_DATETIME | _orjson.OPT_PASSTHROUGH_DATACLASS
    _orjson_dumps = _orjson.dumps
    _orjson_loads = _orjson.loads
    _DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
    _LONG_NUMBER = b"0" * 19
    """The fewest digits of an integer beyond 64 bits, which orjson would read as a float."""
    _BACKSLASH = 0x5C
    _WORTH_LEAVING_OUT = 4096
    """Bytes for each text, on average: so many that a search in vain for long texts costs next to nothing."""

    def _dumps_orjson(value: Any) -> bytes:
        try:
            return _orjson_dumps(value, _default, _OPTIONS)
        except Exception:
            return _dumps_json(value)

    def _outside_of_texts(data: bytes) -> bytes:
        """What is left of `data` without its texts, where these are so long that leaving them out pays."""
        pairs = len(data) // _WORTH_LEAVING_OUT
        outside: list[bytes] = []
        start = 0
        find = data.find
        for _ in range(pairs):
            opening = find(b'"', start)
            closing = find(b'"', opening + 1)
            if opening < 0 or closing < 0:
                outside.append(data[start:])
                return b'"'.join(outside)
            if data[closing - 1] == _BACKSLASH:  # perhaps not the end of the text: look at everything
                break
            outside.append(data[start:opening])
            start = closing + 1
        return data

    def _loads_orjson(text: bytes | str) -> Any:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        # A search by regular expression costs ten times as much.
        if _LONG_NUMBER in _outside_of_texts(data).translate(_DIGITS):
            return _loads_json(text)
        return _loads_short_orjson(data)

    def _loads_short_orjson(text: bytes | str) -> Any:
        try:
            return _orjson_loads(text)
        except (
            ValueError
        ):  # an escaped lone surrogate, or 1e999: valid JSON, and one such value must not spoil a batch
            return _loads_json(text)

    dumps = _dumps_orjson
    loads = _loads_orjson
    loads_short = _loads_short_orjson

dumps.__doc__ = """Encodes a value as compact UTF-8 JSON; the module says what becomes what. Any thread.

Raises TypeError, which names the type and where in the value it is, for what is not JSON.
"""
loads.__doc__ = """Decodes JSON, exact for integers of any size (up to the interpreter's limit of digits).
Any thread.

Raises ValueError for what is not JSON.
"""
loads_short.__doc__ = """:func:`loads` for a text in which no number has 19 digits or more."""
