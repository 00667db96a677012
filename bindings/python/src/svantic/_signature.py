"""What a handler's signature says: the JSON Schema of its arguments, and how its keyword arguments are made
from them."""

# Decoded JSON and evaluated hints have no static type, so what is inside them is unknown by nature.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
from collections.abc import Mapping
from typing import Any, Callable

from . import _hints, _json
from ._docstring import parameter_descriptions
from ._hints import MISSING, Field, Scope, Unsupported
from ._reader import Misfit, Reader, ReaderMaker, integer
from ._schema import SchemaWriter

__all__ = ["Signature", "signature_of"]

_MAX_ERROR_CHARS = 512
"""The longest explanation of a bad argument that goes to the mesh; as long as the library's own."""

_COMPOSED = frozenset(
    ("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentRequired", "dependentSchemas")
)
"""Keywords by which more may be required than a schema's `required` says."""

_CONTEXT_TEXT = re.compile(
    r"(?:[\w.]*\bOptional\[)?\s*(?:svantic\.)?(?:context\.)?Context\s*\]?(?:\s*\|\s*None)?"
)


class Signature:
    """The signature of one handler, read once when its capability is defined. Immutable by agreement; any
    thread."""

    __slots__ = ("build", "is_coroutine", "parameters", "wants_context")

    parameters: dict[str, Any]
    """The JSON Schema of the arguments, with "type": "object" at the top."""

    wants_context: str | None
    """The keyword under which the handler takes the Context; None when it takes none."""

    build: Callable[[dict[str, Any]], dict[str, Any]] | None
    """Makes the keyword arguments from validated JSON arguments, which it leaves as they are.

    None when they can be passed as they are. Raises ValueError, with a text fit for the mesh, for an
    argument that the schema admits and the hint does not, such as 2026-02-30 for a date.
    """

    is_coroutine: bool
    """Whether a call makes a coroutine. Decided by the outermost callable, through partials and `async
    __call__`."""

    def __init__(
        self,
        parameters: dict[str, Any],
        wants_context: str | None,
        build: Callable[[dict[str, Any]], dict[str, Any]] | None,
        is_coroutine: bool,
    ) -> None:
        self.parameters = parameters
        self.wants_context = wants_context
        self.build = build
        self.is_coroutine = is_coroutine


def signature_of(
    handler: Callable[..., Any], *, parameters: Mapping[str, Any] | None, capability: str
) -> Signature:
    """Reads a handler's signature; with `parameters` that schema wins and the hints only convert.

    Raises TypeError for a handler that cannot serve, ValueError for `parameters` that are no schema of an
    object. The texts name the capability, the parameter and the way out. `capability` is for these texts
    only.
    """
    about = _About(handler, capability)
    taken = _Taken(about)
    if parameters is None:
        schema, readers = _from_hints(about, taken)
        dropped = frozenset(taken.bound | {taken.context} - {None}) if taken.rest is not None else frozenset()
        build = _builder(
            readers, taken.rest_reader, kept=None, dropped=dropped, known=frozenset(taken.fields)
        )
    else:
        schema = _explicit(about, taken, parameters)
        readers = _lenient_readers(about, taken)
        build = _explicit_builder(schema, taken, readers)
    return Signature(schema, taken.context, build, about.is_coroutine)


class _About:
    """The function behind a handler, and how errors call it."""

    def __init__(self, handler: Callable[..., Any], capability: str) -> None:
        self.capability = capability
        self.bound: set[str] = set()
        if isinstance(handler, type) or not callable(handler):
            raise TypeError(
                f"the handler of capability `{capability}` is {_article(handler)}, not a function"
            )
        self.handler = handler
        outer: Any = handler
        while isinstance(outer, functools.partial):
            self.bound.update(outer.keywords)
            outer = outer.func
        function: Any = outer
        if not isinstance(function, (types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
            # An instance, whose class is what is called; or something like functools.lru_cache's wrapper.
            if not hasattr(function, "__wrapped__"):
                function = type(function).__call__
        self.is_coroutine = inspect.iscoroutinefunction(outer) or inspect.iscoroutinefunction(function)
        function = inspect.unwrap(function)
        while isinstance(function, (functools.partial, types.MethodType)):
            function = function.func if isinstance(function, functools.partial) else function.__func__
        self.function = inspect.unwrap(function)
        if inspect.isgeneratorfunction(self.function) or inspect.isasyncgenfunction(self.function):
            raise TypeError(f"{self.name} yields; a capability has one result, so return a list or a dict")

    @property
    def name(self) -> str:
        shown = getattr(self.function, "__qualname__", None) or type(self.handler).__qualname__
        return f"the handler `{shown}` of capability `{self.capability}`"

    def signature(self) -> inspect.Signature:
        try:
            if sys.version_info >= (3, 14):
                import annotationlib

                return inspect.signature(self.handler, annotation_format=annotationlib.Format.FORWARDREF)
            return inspect.signature(self.handler)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{self.name} has no signature that Python can read: {error}; wrap it in a def"
            ) from error

    def docstring(self) -> str | None:
        for bearer in (self.function, self.handler):
            text = getattr(bearer, "__doc__", None)
            if isinstance(text, str):
                return text
        return None


def _article(thing: Any) -> str:
    return (
        f"the class {thing.__qualname__}"
        if isinstance(thing, type)
        else f"of type {type(thing).__qualname__}"
    )


class _Taken:
    """The parameters that a handler takes, with their hints evaluated."""

    def __init__(self, about: _About) -> None:
        self.scope = Scope(about.function)
        self.context: str | None = None
        self.fields: dict[str, Field] = {}
        self.rest: Field | None = None
        self.rest_reader: Reader | None = None
        self.bound = about.bound
        self.failures: dict[str, Exception] = {}
        described = parameter_descriptions(about.docstring())
        for parameter in about.signature().parameters.values():
            if parameter.name not in about.bound:
                self._take(about, parameter, described.get(parameter.name))

    def _take(self, about: _About, parameter: inspect.Parameter, description: str | None) -> None:
        name, kind = parameter.name, parameter.kind
        if kind is parameter.VAR_POSITIONAL:
            raise TypeError(
                f"{about.name} takes *{name}, but arguments come by name; take a list, or **{name} "
                "(a decorator needs functools.wraps)"
            )
        if kind is parameter.POSITIONAL_ONLY:
            raise TypeError(
                f"{about.name} takes `{name}` by position only, but arguments come by name; remove the `/`"
            )
        annotation: Any = parameter.annotation
        if name in ("self", "cls") and annotation is parameter.empty and not self.fields:
            raise TypeError(
                f"{about.name} takes `{name}`, which the mesh cannot give: it is a method; register it on "
                "an instance, such as agent.capability(desk.find)"
            )
        hint = Any if annotation is parameter.empty else annotation
        try:
            hint = self.scope.evaluate(hint)
        except Exception as error:
            if kind is parameter.VAR_KEYWORD or not _is_context_text(annotation):
                self.failures[name] = error
        is_context = annotation is parameter.empty and name == "context"
        if kind is not parameter.VAR_KEYWORD and (is_context or _is_context(hint)):
            if self.context is not None:
                raise TypeError(f"{about.name} takes the Context twice, as `{self.context}` and as `{name}`")
            self.context = name
            return
        default = MISSING if parameter.default is parameter.empty else parameter.default
        if type(default).__name__ == "FieldInfo" and type(default).__module__.startswith("pydantic"):
            raise TypeError(
                f"{about.name} has pydantic's Field() as the default of `{name}`, which is no value; "
                f"write `{name}: Annotated[T, Field(...)] = default`"
            )
        field = Field(name, hint, default is MISSING, default, description)
        if kind is parameter.VAR_KEYWORD:
            self.rest = field
        else:
            self.fields[name] = field


def _is_context(hint: Any) -> bool:
    if isinstance(hint, str):
        return _is_context_text(hint)
    members = [hint]
    hint = _hints.stripped(hint)
    if _hints.form_of(hint) in ("Union", "Optional"):
        members = [member for member in hint.__args__ if member is not type(None)]
    # By name: importing the context here would make a circle.
    return len(members) == 1 and (
        getattr(_hints.stripped(members[0]), "__module__", None) == "svantic.context"
        and getattr(_hints.stripped(members[0]), "__qualname__", None) == "Context"
    )


def _is_context_text(annotation: Any) -> bool:
    """Whether it reads like the Context; for a name that is imported for type checkers only."""
    text = getattr(annotation, "__forward_arg__", annotation)
    return isinstance(text, str) and _CONTEXT_TEXT.fullmatch(text.strip()) is not None


def _from_hints(about: _About, taken: _Taken) -> tuple[dict[str, Any], dict[str, Reader]]:
    writer, maker = SchemaWriter(taken.scope), ReaderMaker(taken.scope)
    readers: dict[str, Reader] = {}
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    required: list[str] = []
    for field in taken.fields.values():
        described, reader = _described(about, taken, writer, maker, field)
        schema["properties"][field.name] = described
        if reader is not None:
            readers[field.name] = reader
        if field.required:
            required.append(field.name)
    if required:
        schema["required"] = required
    if taken.rest is None:
        schema["additionalProperties"] = False
    else:
        described, taken.rest_reader = _described(about, taken, writer, maker, taken.rest)
        if described:
            schema["additionalProperties"] = described
    if writer.definitions:
        schema["$defs"] = writer.definitions
    return schema, readers


def _described(
    about: _About, taken: _Taken, writer: SchemaWriter, maker: ReaderMaker, field: Field
) -> tuple[dict[str, Any], Reader | None]:
    advice = "give the capability `parameters=`, a JSON Schema of its arguments"
    where = f"the parameter `{field.name}: {_hints.hint_text(field.hint)}` of {about.name}"
    failure = taken.failures.get(field.name)
    if failure is not None:
        if (
            isinstance(failure, TypeError)
            and "|" in _hints.hint_text(field.hint)
            and sys.version_info < (3, 10)
        ):
            advice = f"write Optional[...] or Union[...], since X | Y needs Python 3.10, or {advice}"
        elif isinstance(failure, NameError):
            advice = f"import the name at run time in the handler's module, or {advice}"
        raise TypeError(f"{where} cannot be evaluated: {failure}; {advice}") from failure
    try:
        schema = writer.describe(field.hint, default=field.default, description=field.description)
        reading = maker.reading(field.hint)
    except Unsupported as error:
        plain = f"{_hints.hint_text(field.hint)} has no JSON Schema"  # which `where` says already
        why = "" if str(error) == plain else f": {error}"
        raise TypeError(f"{where} has no JSON Schema{why}; {advice}") from error
    return schema, None if reading.plain else reading.read


def _explicit(about: _About, taken: _Taken, parameters: Mapping[str, Any]) -> dict[str, Any]:
    whose = f"the `parameters` of capability `{about.capability}`"
    try:
        # A copy, since a change afterwards would not reach the mesh; and what is no JSON is found here.
        schema: Any = _json.loads(_json.dumps(parameters))
    except TypeError as error:
        raise TypeError(f"{whose} are no JSON: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ValueError(f'{whose} must be a JSON Schema with "type": "object" at the top')
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise ValueError(f'{whose} must have an object as "properties" and an array as "required"')
    if taken.context is not None and taken.context in properties:
        raise TypeError(
            f"{about.name} takes the Context as `{taken.context}`, which its `parameters` "
            "have as a property; rename one"
        )
    if taken.rest is None:
        for name in required:
            if name not in taken.fields:
                raise TypeError(
                    f"{about.name} cannot take `{name}`, which its `parameters` require; add it, or **kwargs"
                )
    if not _COMPOSED & schema.keys():
        for field in taken.fields.values():
            if field.required and field.name not in required:
                raise TypeError(
                    f"{about.name} needs `{field.name}`, which its `parameters` do not require; "
                    "give it a default, or add it to `required`"
                )
    return schema


def _lenient_readers(about: _About, taken: _Taken) -> dict[str, Reader]:
    """Readers where hints ask for more than JSON has. What the hints cannot say the explicit schema has
    said."""
    maker = ReaderMaker(taken.scope)
    readers: dict[str, Reader] = {}
    for field in (*taken.fields.values(), *filter(None, [taken.rest])):
        if field.name in taken.failures:
            continue
        try:
            reading = maker.reading(field.hint)
        except Unsupported:
            continue
        if not reading.plain:
            if field is taken.rest:
                taken.rest_reader = reading.read
            else:
                readers[field.name] = reading.read
    return readers


def _explicit_builder(
    schema: dict[str, Any], taken: _Taken, readers: dict[str, Reader]
) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    names = frozenset(taken.fields)
    if taken.rest is not None:
        dropped = frozenset(taken.bound | {taken.context} - {None})
        return _builder(readers, taken.rest_reader, kept=None, dropped=dropped, known=names)
    closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
    fits = closed and names.issuperset(schema.get("properties", {}))
    return _builder(readers, None, kept=None if fits else names, dropped=frozenset(), known=names)


def _builder(
    readers: dict[str, Reader],
    rest_reader: Reader | None,
    *,
    kept: frozenset[str] | None,
    dropped: frozenset[Any],
    known: frozenset[str],
) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """The function that makes keyword arguments, None when there is nothing to do.

    `kept`: the only names to pass on. `dropped`: names that only we may pass to a handler with **kwargs:
    its Context, and what a partial has bound.
    """
    if not readers and rest_reader is None and kept is None and not dropped:
        return None
    items = tuple(readers.items())

    def build(args: dict[str, Any]) -> dict[str, Any]:
        if kept is None:
            keywords = args.copy()
            for name in dropped:
                keywords.pop(name, None)
        else:
            keywords = {name: value for name, value in args.items() if name in kept}
        name = ""
        try:
            for name, read in items:
                if name in keywords:
                    keywords[name] = read(keywords[name])
            if rest_reader is not None:
                for name in keywords.keys() - known:
                    keywords[name] = rest_reader(keywords[name])
        except Misfit as misfit:
            text = f"the parameter `{name}{misfit.path}` {misfit.why}"[:_MAX_ERROR_CHARS]
            # The sender may have put a lone surrogate into a key.
            raise ValueError(text.encode("utf-8", "replace").decode("utf-8")) from misfit.__cause__
        return keywords

    if (
        kept is not None
        or dropped
        or rest_reader is not None
        or any(read is not integer for read in readers.values())
    ):
        return build

    def build_integers(args: dict[str, Any]) -> dict[str, Any]:
        # Callers hardly ever write 2.0 for 2, so it costs a glance and no copy.
        for name in readers:
            if type(args.get(name)) is float:
                return build(args)
        return args

    return build_integers
