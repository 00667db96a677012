"""JSON values to the Python values that hints ask for.

A reader takes a value out of decoded JSON and returns the Python value, or raises Misfit. It checks what it
reads, since an explicit schema may admit more than the hints do, and since a union is read by trying its
members. Where JSON already is the Python value there is nothing to read: `Reading.plain`, and the value is
passed on untouched and unchecked by Python (the library has validated it against the schema). So a `float`
parameter may get an int, as everywhere in Python.
"""

# Decoded JSON and evaluated hints have no static type, so what is inside them is unknown by nature.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import re
import typing
import uuid
from collections.abc import Iterable
from typing import Any, Callable

from . import _hints, _json
from ._hints import Field, Scope, Unsupported

__all__ = ["Misfit", "Reader", "ReaderMaker", "Reading", "integer"]

Reader = Callable[[Any], Any]


class Misfit(ValueError):
    """A value that a hint does not take. Says where and why; never holds the value, which is the sender's."""

    def __init__(self, why: str, path: str = "") -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def within(self, step: str) -> Misfit:
        return Misfit(self.why, step + self.path)

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


class Reading(typing.NamedTuple):
    """How values of a hint are read; `plain` when they may be passed as they are."""

    read: Reader
    plain: bool


class ReaderMaker:
    """Makes the readers of one handler's parameters."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._named: dict[Any, list[Reader]] = {}

    def reading(self, hint: Any) -> Reading:
        """How values of this hint are read. Raises Unsupported, for the same hints as the schema."""
        if _hints.is_pydantic(hint):
            return Reading(_pydantic_reader(hint), False)
        hint = _hints.stripped(hint)
        if _hints.is_pydantic(hint):
            return Reading(_pydantic_reader(hint), False)
        if hint is Any or hint is object:
            return Reading(_anything, True)
        form = _hints.form_of(hint)
        if form in ("Union", "Optional"):
            return _union([self.reading(member) for member in typing.get_args(hint)])
        if form == "Literal":
            return _literal(typing.get_args(hint))
        if hasattr(hint, "__value__") and hasattr(hint, "__type_params__"):
            return self._recursive(hint, lambda: self.reading(hint.__value__))
        container = _hints.container_of(hint)
        if container is not None:
            return self._container(hint, container)
        if isinstance(hint, type):
            known = _KNOWN.get(hint)
            if known is not None:
                return known
            if issubclass(hint, enum.Enum):
                return Reading(_member_reader(dict(_hints.enum_values(hint))), False)
            if issubclass(hint, pathlib.PurePath):
                return Reading(_text_reader(hint, "is no path"), False)
            if _hints.is_named_tuple(hint):
                return self._recursive(hint, lambda: self._named_tuple(hint))
            if _hints.is_typed_dict(hint) or dataclasses.is_dataclass(hint):
                return self._recursive(hint, lambda: self._record(hint))
        raise Unsupported(f"{_hints.hint_text(hint)} has no JSON Schema")

    def _recursive(self, hint: Any, make: Callable[[], Reading]) -> Reading:
        cell = self._named.get(hint)
        if cell is None:
            cell = self._named[hint] = []
            reading = make()
            cell.append(reading.read)
            return reading
        if cell:
            return Reading(cell[0], False)
        unfinished = cell  # a type inside itself: its reader is there by the time a value comes
        return Reading(lambda value: unfinished[0](value), False)

    def _container(self, hint: Any, container: type) -> Reading:
        members = _hints.members_of(hint)
        if container is tuple and (len(members) != 2 or members[1] is not ...):
            return Reading(_fixed_reader([self.reading(member).read for member in members]), False)
        member = self.reading(members[0])
        if container is dict:
            return Reading(_object_reader(member.read), member.plain)
        if container is list:
            return Reading(_list_reader(member.read), member.plain)
        return Reading(_collection_reader(container, _list_reader(member.read)), False)

    def _named_tuple(self, cls: Any) -> Reading:
        fields = _hints.record_fields(cls, self._scope)
        least = sum(field.required for field in fields)
        read = _fixed_reader([self.reading(field.hint).read for field in fields], least)
        return Reading(lambda value: cls(*read(value)), False)

    def _record(self, cls: Any) -> Reading:
        fields = _hints.record_fields(cls, self._scope)
        readings = {field.name: self.reading(field.hint) for field in fields}
        plain = _hints.is_typed_dict(cls) and all(reading.plain for reading in readings.values())
        return Reading(_record_reader(cls, fields, readings), plain)


def _anything(value: Any) -> Any:
    return value


def _exact(kinds: tuple[type, ...], why: str) -> Reader:
    def read(value: Any) -> Any:
        if type(value) not in kinds:
            raise Misfit(why)
        return value

    return read


def integer(value: Any) -> int:
    """Reads an `int`; the one reader that plain arguments need, so it is known by name to those who want to
    skip it."""
    kind = type(value)
    if kind is int:
        return typing.cast(int, value)
    # JSON has one kind of number: the schema's "integer" admits 2.0, and a handler that counts with it must
    # not see a float.
    if kind is float and math.isfinite(value) and value.is_integer():
        return int(value)
    raise Misfit("is no integer")


def _text_reader(convert: Callable[[str], Any], why: str) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is str:
            try:
                return convert(value)
            except (ValueError, ArithmeticError):
                pass
        raise Misfit(why)

    return read


_TIME = r"(\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))?([Zz]|[+-]\d\d:\d\d)?"
_TIME_ONLY = re.compile(_TIME, re.ASCII)
_DATE_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ]" + _TIME, re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


# RFC 3339, with the offset optional. Interpreters differ in what their fromisoformat() takes; this is what
# all of them do.
def _spelled(match: re.Match[str], *, first: int) -> str:
    clock, fraction, offset = match.group(first, first + 1, first + 2)
    text = f"{clock}.{fraction[:6]:0<6}" if fraction else clock
    return text + ("+00:00" if offset in ("Z", "z") else offset or "")


def _datetime(text: str) -> datetime.datetime:
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise ValueError
    return datetime.datetime.fromisoformat(f"{match[1]}T{_spelled(match, first=2)}")


def _date(text: str) -> datetime.date:
    if _DATE.fullmatch(text) is None:
        raise ValueError
    return datetime.date.fromisoformat(text)


def _time(text: str) -> datetime.time:
    match = _TIME_ONLY.fullmatch(text)
    if match is None:
        raise ValueError
    return datetime.time.fromisoformat(_spelled(match, first=1))


def _decimal(value: Any) -> decimal.Decimal:
    if type(value) in (str, int, float):
        try:
            number = decimal.Decimal(
                str(value)
            )  # of a float: the digits that were sent, not its binary expansion
        except (ArithmeticError, ValueError):
            pass
        else:
            if number.is_finite():
                return number
    raise Misfit("is no decimal number")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeError) as error:
        raise ValueError from error


_KNOWN: dict[Any, Reading] = {
    str: Reading(_exact((str,), "is no text"), True),
    bool: Reading(_exact((bool,), "is neither true nor false"), True),
    float: Reading(_exact((float, int), "is no number"), True),
    type(None): Reading(_exact((type(None),), "is not null"), True),
    int: Reading(integer, False),
    datetime.datetime: Reading(
        _text_reader(_datetime, "is no date and time such as 2026-05-01T08:00:00Z"), False
    ),
    datetime.date: Reading(_text_reader(_date, "is no date such as 2026-05-01"), False),
    datetime.time: Reading(_text_reader(_time, "is no time such as 08:00:00"), False),
    uuid.UUID: Reading(_text_reader(uuid.UUID, "is no UUID"), False),
    decimal.Decimal: Reading(_decimal, False),
    bytes: Reading(_text_reader(_bytes, "is no base64"), False),
}


def _union(members: list[Reading]) -> Reading:
    readers = [member.read for member in members]

    def read(value: Any) -> Any:
        misfits: list[Misfit] = []
        for reader in readers:
            try:
                return reader(value)
            except Misfit as misfit:
                misfits.append(misfit)
        # The one that got farthest into the value is about the member that was meant.
        deepest = max(misfits, key=lambda misfit: len(misfit.path))
        raise deepest if deepest.path or len(misfits) == 1 else Misfit(_alternatives(misfits))

    return Reading(read, all(member.plain for member in members))


def _alternatives(misfits: list[Misfit]) -> str:
    return " and ".join(dict.fromkeys(misfit.why for misfit in misfits))


def _literal(values: Iterable[Any]) -> Reading:
    found: dict[tuple[type, Any], Any] = {}
    plain = True
    for value in values:
        simple = value.value if isinstance(value, enum.Enum) else value
        found[type(simple), simple] = value
        plain = plain and simple is value and type(value) in (str, bool, type(None))
    return Reading(_member_reader(found), plain)


def _member_reader(members: dict[tuple[type, Any], Any]) -> Reader:
    def read(value: Any) -> Any:
        kind = type(value)
        try:
            if (kind, value) in members:
                return members[kind, value]
            if kind is float and value.is_integer():  # 1.0 for 1, as the schema has it
                return members[int, int(value)]
            if kind is int:
                return members[float, float(value)]
        except (LookupError, TypeError, OverflowError):
            pass
        raise Misfit("is none of the values that it may have")

    return read


def _list_reader(read_item: Reader) -> Reader:
    def read(value: Any) -> list[Any]:
        if type(value) is not list:
            raise Misfit("is no array")
        if read_item is _anything:
            return value
        result: list[Any] = []
        try:
            for item in value:
                result.append(read_item(item))
        except Misfit as misfit:
            raise misfit.within(f"[{len(result)}]") from misfit.__cause__
        return result

    return read


def _collection_reader(container: type, read_list: Reader) -> Reader:
    def read(value: Any) -> Any:
        try:
            return container(read_list(value))
        except TypeError as error:  # a set of what cannot be in one
            raise Misfit("has items that cannot be in a set") from error

    return read


def _fixed_reader(readers: list[Reader], least: int | None = None) -> Reader:
    size = len(readers)
    smallest = size if least is None else least

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or not smallest <= len(value) <= size:
            raise Misfit(f"is no array of {size} items")
        result: list[Any] = []
        try:
            for reader, item in zip(readers, value):
                result.append(reader(item))
        except Misfit as misfit:
            raise misfit.within(f"[{len(result)}]") from misfit.__cause__
        return tuple(result)

    return read


def _object_reader(read_value: Reader) -> Reader:
    def read(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise Misfit("is no object")
        if read_value is _anything:
            return typing.cast("dict[str, Any]", value)
        key = ""
        result: dict[str, Any] = {}
        try:
            for key, item in value.items():
                result[key] = read_value(item)
        except Misfit as misfit:
            raise misfit.within(f".{key}") from misfit.__cause__
        return result

    return read


def _record_reader(cls: Any, fields: tuple[Field, ...], readings: dict[str, Reading]) -> Reader:
    readers = {name: reading.read for name, reading in readings.items()}
    required = [field.name for field in fields if field.required]

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise Misfit("is no object")
        key = ""
        result: dict[str, Any] = {}
        try:
            for key, item in value.items():
                reader = readers.get(key)
                if reader is None:
                    raise Misfit(f"is no field of {cls.__name__}")
                result[key] = reader(item)
        except Misfit as misfit:
            raise misfit.within(f".{key}") from misfit.__cause__
        for name in required:
            if name not in result:
                raise Misfit("is missing", f".{name}")
        try:
            return cls(**result)
        except Exception as error:  # __post_init__ has its own opinion of the values
            raise Misfit(f"is refused by {cls.__name__}: {error}") from error

    return read


def _validator_from_json(model: Any) -> Reader:
    return lambda value: model.model_validate_json(_json.dumps(value))


def _pydantic_reader(hint: Any) -> Reader:
    import pydantic

    validate: Reader
    if isinstance(hint, type) and issubclass(hint, pydantic.BaseModel):
        validate = hint.model_validate
        if hint.model_config.get("strict"):  # only from JSON does a strict model make dates and their like
            validate = _validator_from_json(hint)
    else:
        try:
            validate = pydantic.TypeAdapter(hint).validate_python
        except Exception as error:
            raise Unsupported(f"pydantic cannot read it: {error}") from error

    def read(value: Any) -> Any:
        try:
            return validate(value)
        except pydantic.ValidationError as error:
            # str(error) would quote the sender's values.
            details = error.errors(include_url=False, include_context=False, include_input=False)
        first = details[0]
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        raise Misfit(f"is not valid: {first['msg']}{more}", "".join(steps))

    return read
