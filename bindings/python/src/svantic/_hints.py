"""Reading type hints: what kind of type a hint is, and the fields of the records it may name.

The schema (`_schema`) and the reader of values (`_reader`) both go by what is here, so that they cannot
disagree.
"""

# Decoded JSON and evaluated hints have no static type, so what is inside them is unknown by nature.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Callable

__all__ = [
    "MISSING",
    "Field",
    "Scope",
    "Unsupported",
    "container_of",
    "description_of",
    "enum_values",
    "form_of",
    "hint_text",
    "is_named_tuple",
    "is_pydantic",
    "is_typed_dict",
    "members_of",
    "record_fields",
    "stripped",
]

MISSING: Any = object()


class Unsupported(TypeError):
    """A hint that has no JSON Schema; the text says why."""


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a dataclass, a TypedDict or a NamedTuple."""

    name: str
    hint: Any
    required: bool
    default: Any = MISSING
    description: str | None = None


class Scope:
    """Where the names in a handler's annotations are looked up: its module, its closure, and the functions
    around it, which are still running when it is decorated. The nearest wins, as in the code."""

    __slots__ = ("_class_names", "_global_names", "_local_names")

    def __init__(self, function: Callable[..., Any]) -> None:
        self._global_names: dict[str, Any] = getattr(function, "__globals__", {})
        path = getattr(function, "__qualname__", "").split(".")
        self._local_names = self._names_around(path)
        self._class_names = self._names_of_classes(path)
        code = getattr(function, "__code__", None)
        for name, cell in zip(getattr(code, "co_freevars", ()), getattr(function, "__closure__", None) or ()):
            try:
                self._local_names[name] = cell.cell_contents
            except ValueError:  # not bound yet
                pass

    def _names_around(self, path: list[str]) -> dict[str, Any]:
        # "outer" and "inner" of "outer.<locals>.inner.<locals>.handler"
        around = [name for name, after in zip(path, path[1:]) if after == "<locals>"]
        names: dict[str, Any] = {}
        frame = inspect.currentframe() if around else None
        while frame is not None:
            if frame.f_code.co_name in around and frame.f_globals is self._global_names:
                names = {**frame.f_locals, **names}
            frame = frame.f_back
        return names

    def _names_of_classes(self, path: list[str]) -> dict[str, Any]:
        """What the classes around a method define, such as the class of its argument."""
        names: dict[str, Any] = {}
        here: Any = None
        for name in path[:-1]:
            if here is None:
                here = self._local_names.get(name, self._global_names.get(name))
            else:
                here = vars(here).get(name)
            if isinstance(here, type):
                names.update(vars(here))
            else:
                here = None
        return names

    def evaluate(self, hint: Any) -> Any:
        """The hint with every name in it looked up. Raises what the look-up raises."""
        try:
            return self._get(hint, self._local_names)
        except NameError:
            # Last, since a method may be called `list`.
            return self._get(hint, {**self._class_names, **self._local_names})

    def _get(self, hint: Any, names: dict[str, Any]) -> Any:
        bearer = types.SimpleNamespace(__annotations__={"hint": hint})
        return typing.get_type_hints(bearer, self._global_names, names, include_extras=True)["hint"]

    def class_hints(self, cls: type) -> dict[str, Any]:
        """The evaluated annotations of a class and its bases. Raises what the look-up raises."""
        own = {cls.__name__: cls}
        around = {**self._local_names, **own}
        if "<locals>" in cls.__qualname__:
            return typing.get_type_hints(cls, localns=around, include_extras=True)
        try:
            return typing.get_type_hints(cls, localns=own, include_extras=True)
        except NameError:
            return typing.get_type_hints(cls, localns=around, include_extras=True)


def form_of(hint: Any) -> str:
    """The name of a special form, such as "Union", "Literal" or "Annotated"; "" for anything else.

    By name, since `typing_extensions` has forms of its own on older interpreters.
    """
    origin = typing.get_origin(hint)
    if hasattr(hint, "__metadata__"):
        return "Annotated"
    if origin is None or isinstance(origin, type):
        return "Union" if getattr(origin, "__name__", "") in ("UnionType", "Union") else ""
    return getattr(origin, "_name", None) or getattr(origin, "__name__", "") or ""


def stripped(hint: Any) -> Any:
    """The hint without Annotated, Required, NotRequired, ReadOnly, Final, NewType and type aliases that
    change no value."""
    while True:
        form = form_of(hint)
        if form == "Annotated":
            hint = hint.__origin__
        elif form in ("Required", "NotRequired", "ReadOnly", "Final"):
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        else:
            return type(None) if hint is None else hint


def _metadata(hint: Any) -> Iterator[Any]:
    while True:
        form = form_of(hint)
        if form == "Annotated":
            yield from hint.__metadata__
            hint = hint.__origin__
        elif form in ("Required", "NotRequired", "ReadOnly", "Final"):
            hint = typing.get_args(hint)[0]
        else:
            return


def description_of(hint: Any) -> str | None:
    """What `Annotated[T, "description"]` says, or `Annotated[T, Doc("description")]`."""
    for item in _metadata(hint):
        text = item if isinstance(item, str) else getattr(item, "documentation", None)
        if isinstance(text, str):
            return text
    return None


def is_pydantic(hint: Any) -> bool:
    """Whether pydantic (2) makes the schema and reads the values: its own classes, and Annotated with its
    Field."""
    if sys.modules.get("pydantic") is None:
        return False
    if form_of(hint) == "Annotated":
        packages = {type(item).__module__.partition(".")[0] for item in hint.__metadata__}
        return bool(packages & {"pydantic", "pydantic_core", "annotated_types"}) or is_pydantic(
            hint.__origin__
        )
    return isinstance(hint, type) and (
        hasattr(hint, "__get_pydantic_core_schema__") or hasattr(hint, "__pydantic_core_schema__")
    )


def is_typed_dict(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__total__")


def is_named_tuple(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields")


_ARRAYS: dict[Any, type] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.deque: collections.deque,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.Set: frozenset,
    collections.abc.MutableSet: set,
}

_OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def container_of(hint: Any) -> type | None:
    """The class that values of a container hint get: list, tuple, set, frozenset, deque or dict; None for
    no container."""
    origin = typing.get_origin(hint) or hint
    # typing.List and its like without arguments
    origin = getattr(origin, "__origin__", origin)
    try:
        return dict if origin in _OBJECTS else _ARRAYS.get(origin)
    except TypeError:  # not hashable, so no type
        return None


def members_of(hint: Any, hint_of_all: Any = Any) -> tuple[Any, ...]:
    """The arguments of a container hint, `Any` for what it leaves open. Raises Unsupported for keys that
    are not text."""
    args = typing.get_args(hint)
    if any(isinstance(arg, typing.TypeVar) for arg in args):  # a bare typing.List on 3.9
        args = ()
    container = container_of(hint)
    if container is dict:
        key, value = args or (str, hint_of_all)
        if stripped(key) not in (str, Any):
            raise Unsupported("the keys of a JSON object are text, so the key type must be str")
        return (value,)
    if container is tuple:
        return args or ((hint_of_all, ...) if not _is_empty_tuple(hint) else ())
    return args or (hint_of_all,)


def _is_empty_tuple(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple


def enum_values(cls: type[enum.Enum]) -> dict[tuple[type, Any], enum.Enum]:
    """The members by (type, value); the type keeps 1 and true apart."""
    if issubclass(cls, enum.Flag):
        raise Unsupported(
            "flags combine, which no schema of single values says; take an int or a list of an Enum"
        )
    found: dict[tuple[type, Any], enum.Enum] = {}
    for member in cls:
        value = member.value
        for plain in (bool, int, float, str):
            if isinstance(value, plain):
                found[plain, plain(value)] = member
                break
        else:
            raise Unsupported(f"its member {member.name} has a value that is no text, number or bool")
    if not found:
        raise Unsupported("it has no members")
    return found


def record_fields(cls: Any, scope: Scope) -> tuple[Field, ...]:
    """The fields that a dataclass, TypedDict or NamedTuple is made from. Raises Unsupported."""
    try:
        hints = scope.class_hints(cls)
    except Exception as error:
        raise Unsupported(f"the annotations of {cls.__qualname__} cannot be evaluated: {error}") from error
    if is_typed_dict(cls):
        return tuple(_typed_dict_fields(cls, hints))
    if is_named_tuple(cls):
        defaults = cls._field_defaults
        return tuple(
            Field(
                name,
                hints.get(name, Any),
                name not in defaults,
                defaults.get(name, MISSING),
                description_of(hints.get(name)),
            )
            for name in cls._fields
        )
    return tuple(_dataclass_fields(cls, hints))


def _typed_dict_fields(cls: Any, hints: Mapping[str, Any]) -> Iterator[Field]:
    for name, hint in hints.items():
        required = name in cls.__required_keys__
        # Postponed annotations hide Required and NotRequired from older interpreters' own book-keeping.
        wrapper = hint
        while (form := form_of(wrapper)) in ("Required", "NotRequired", "ReadOnly", "Annotated"):
            if form in ("Required", "NotRequired"):
                required = form == "Required"
            wrapper = wrapper.__origin__ if form == "Annotated" else typing.get_args(wrapper)[0]
        yield Field(name, hint, required, description=description_of(hint))


def _dataclass_fields(cls: Any, hints: Mapping[str, Any]) -> Iterator[Field]:
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise Unsupported(f"{cls.__qualname__}.{name} is an InitVar")
    for field in dataclasses.fields(cls):
        if field.init:
            no_default = field.default is dataclasses.MISSING
            required = no_default and field.default_factory is dataclasses.MISSING
            hint = hints.get(field.name, Any)
            description = description_of(hint) or field.metadata.get("description")
            default = MISSING if no_default else field.default
            yield Field(field.name, hint, required, default, description)


def hint_text(hint: Any) -> str:
    """A hint as people write it."""
    if isinstance(hint, str):
        return hint
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__qualname__
    return str(hint).replace("typing.", "")
