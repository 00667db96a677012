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
made plain by `_plain` and encoded again.
"""

# Decoded JSON and evaluated hints have no static type, so what is inside them is unknown by nature.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false

from __future__ import annotations

import binascii
import collections
import collections.abc
import datetime
import decimal
import enum
import json
import math
import os
import sys
import uuid
from typing import Any, Callable

__all__ = ["dumps", "loads"]

_MAX_DEPTH = 64
"""As deep as the library lets a result be."""


def _iso(value: datetime.datetime | datetime.date | datetime.time) -> str:
    return value.isoformat()


def _enum_value(value: enum.Enum) -> Any:
    return value.value


def _base64(value: bytes | bytearray | memoryview) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


# Exact types first: one look-up for what handlers mostly return.
_BY_TYPE: dict[type, Callable[[Any], Any]] = {
    datetime.datetime: _iso,
    datetime.date: _iso,
    datetime.time: _iso,
    uuid.UUID: str,
    decimal.Decimal: str,
    set: list,
    frozenset: list,
    collections.deque: list,
    bytes: _base64,
    bytearray: _base64,
    memoryview: _base64,
}

# The order counts: an Enum may also be a str, a datetime is a date, bytes are a sequence.
_BY_BASE: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (enum.Enum, _enum_value),
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    ((datetime.date, datetime.time), _iso),
    ((uuid.UUID, decimal.Decimal), str),
    ((bytes, bytearray), _base64),
    (os.PathLike, os.fspath),
    (collections.abc.Mapping, dict),
    (
        (collections.abc.Sequence, collections.abc.Set, collections.abc.ValuesView, collections.deque),
        list,
    ),
)


def _default(value: Any) -> Any:
    """The nearest simpler form of what an encoder does not know; a TypeError when there is none."""
    kind = type(value)
    convert = _BY_TYPE.get(kind)
    if convert is not None:
        return convert(value)
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is not None:
        serializer = getattr(kind, "__pydantic_serializer__", None)
        if serializer is not None:
            return serializer.to_python(value, mode="json")
        # Not dataclasses.asdict(): it copies deeply and keeps what is inside as it is. No other encoder's
        # idea of a leading underscore: a field is a field.
        pseudo = ("_FIELD_CLASSVAR", "_FIELD_INITVAR")
        return {
            name: getattr(value, name)
            for name, field in fields.items()
            if getattr(field._field_type, "name", "") not in pseudo
        }
    if hasattr(kind, "model_dump") and hasattr(kind, "model_fields"):
        return value.model_dump(mode="json")
    for base, convert in _BY_BASE:
        if isinstance(value, base):
            return convert(value)
    if hasattr(kind, "__get_pydantic_core_schema__") and "pydantic_core" in sys.modules:  # a URL and its like
        return sys.modules["pydantic_core"].to_jsonable_python(value)
    if hasattr(kind, "__await__"):  # of a plain function that calls a coroutine function
        raise TypeError(f"{_type_name(kind)} must be awaited: make the handler an `async def`")
    raise TypeError(f"{_type_name(kind)} is not JSON")


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _plain(value: Any, where: str, depth: int) -> Any:
    """`value` in nothing but exact dict, list, str, int, float, bool and None; a TypeError that says where
    it cannot."""
    kind = type(value)
    if value is None or kind is bool or kind is int:
        return value
    if kind is str:
        return _text(value, where)
    if kind is float:
        return value if math.isfinite(value) else None
    if depth > _MAX_DEPTH:
        raise TypeError(
            f"{where[:200] or 'the value'} is more than {_MAX_DEPTH} levels deep, or contains itself"
        )
    if kind is dict:
        return {_key(key, where): _plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, (dict, list, tuple)) and not hasattr(kind, "__dataclass_fields__"):
        return _plain(dict(value) if isinstance(value, dict) else list(value), where, depth)
    try:
        simpler = _default(value)
    except Exception as error:
        # What a model or a property raises is the handler's own fault and is told as such.
        place = f" (at {where})" if where else ""
        text = (
            str(error) if isinstance(error, TypeError) else f"{_type_name(kind)} cannot be encoded: {error}"
        )
        raise TypeError(f"{text}{place}") from error
    # A level deeper although the text is not: an object whose simpler form is never simple must end too.
    return _plain(simpler, where, depth + 1)


def _text(value: str, where: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        place = f" (at {where})" if where else ""
        raise TypeError(
            f"a text holds the lone surrogate U+{code:04X}, which UTF-8 cannot carry{place}"
        ) from None
    return value


def _key(key: Any, where: str) -> str:
    if type(key) is str:
        return _text(key, f"a key of {where}" if where else "a key")
    if isinstance(key, enum.Enum):
        return _key(key.value, where)
    if isinstance(key, str):
        return _text(str.__str__(key), where)
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, float) and math.isfinite(key):
        return float.__repr__(key)
    if isinstance(key, (datetime.date, datetime.time)):
        return key.isoformat()
    if isinstance(key, (uuid.UUID, decimal.Decimal)):
        return str(key)
    if isinstance(key, os.PathLike):
        return _text(str(os.fspath(key)), where)
    name = "NaN or an infinity" if isinstance(key, float) else _type_name(type(key))
    raise TypeError(f"{name} cannot be the key of a JSON object{f' (at {where})' if where else ''}")


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
    ):  # NaN, a key, a surrogate, or an object that failed: _plain mends it or says where it is
        pass
    plain = _plain(value, "", 0)
    try:
        return _encode(plain).encode("utf-8")
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

try:
    import orjson as _orjson
except ImportError:
    dumps = _dumps_json
    loads = _loads_json
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
        try:
            return _orjson_loads(data)
        except (
            ValueError
        ):  # an escaped lone surrogate, or 1e999: valid JSON, and one such value must not spoil a batch
            return _loads_json(text)

    dumps = _dumps_orjson
    loads = _loads_orjson

dumps.__doc__ = """Encodes a value as compact UTF-8 JSON; the module says what becomes what. Any thread.

Raises TypeError, which names the type and where in the value it is, for what is not JSON.
"""
loads.__doc__ = """Decodes JSON, exact for integers of any size (up to the interpreter's limit of digits).
Any thread.

Raises ValueError for what is not JSON.
"""
