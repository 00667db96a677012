"""What becomes of values that are no JSON: dates, models, sets and their like. The table is in `_json`.

Loaded by the first such value: the modules whose types it knows are a good part of what importing the package would
cost.
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
import math
import os
import sys
import uuid
from typing import Any, Callable

__all__ = ["plain", "simpler"]

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


def simpler(value: Any) -> Any:
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


def plain(value: Any, where: str = "", depth: int = 0) -> Any:
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
        return {_key(key, where): plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, (dict, list, tuple)) and not hasattr(kind, "__dataclass_fields__"):
        return plain(dict(value) if isinstance(value, dict) else list(value), where, depth)
    try:
        found = simpler(value)
    except Exception as error:
        # What a model or a property raises is the handler's own fault and is told as such.
        place = f" (at {where})" if where else ""
        text = (
            str(error) if isinstance(error, TypeError) else f"{_type_name(kind)} cannot be encoded: {error}"
        )
        raise TypeError(f"{text}{place}") from error
    # A level deeper although the text is not: an object whose simpler form is never simple must end too.
    return plain(found, where, depth + 1)


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
