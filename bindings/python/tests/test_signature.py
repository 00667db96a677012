"""What a handler's signature becomes: its schema, its keyword arguments, its errors at definition."""

# Hints are tested in every spelling, the old ones too.
# ruff: noqa: B006, B008, UP006, UP035, UP045

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import importlib.util
import inspect
import pathlib
import sys
import types
import typing
import uuid
from collections.abc import Iterator
from typing import (
    Annotated,
    Any,
    Callable,
    Dict,
    List,
    Literal,
    NamedTuple,
    Optional,
    Tuple,
    TypedDict,
    Union,
)

import pytest

from svantic._signature import Signature, signature_of

HAVE_PYDANTIC = importlib.util.find_spec("pydantic") is not None
if HAVE_PYDANTIC:
    import pydantic

needs_pydantic = pytest.mark.skipif(not HAVE_PYDANTIC, reason="pydantic is not installed")


class Context:
    """Recognised by its qualified name, which is all that the signature may know of it."""


Context.__module__ = "svantic.context"


def read(handler: Callable[..., Any], parameters: Any = None) -> Signature:
    return signature_of(handler, parameters=parameters, capability="find_order")


def built(handler: Callable[..., Any], args: Dict[str, Any], parameters: Any = None) -> Any:
    build = read(handler, parameters).build
    assert build is not None
    before = repr(args)
    keywords = build(args)
    assert repr(args) == before
    return keywords


TEXT = {"type": "string"}
EMPTY = {"type": "object", "properties": {}, "additionalProperties": False}


# --- which parameters there are


def test_plain_parameters_become_a_closed_object_and_need_no_building() -> None:
    def handler(
        order_id: str, share: float = 0.5, deep: bool = False, tags: List[str] = [], rest: Any = None
    ) -> None: ...

    signature = read(handler)
    assert signature.parameters == {
        "type": "object",
        "properties": {
            "order_id": TEXT,
            "share": {"type": "number", "default": 0.5},
            "deep": {"type": "boolean", "default": False},
            "tags": {"type": "array", "items": TEXT, "default": []},
            "rest": {"default": None},
        },
        "required": ["order_id"],
        "additionalProperties": False,
    }
    assert signature.build is None and signature.wants_context is None and not signature.is_coroutine


def test_a_handler_without_parameters_takes_nothing() -> None:
    assert read(lambda: None).parameters == EMPTY


def test_an_unannotated_parameter_takes_any_value() -> None:
    signature = read(lambda order_id, *, limit=3: None)
    assert signature.parameters["properties"] == {"order_id": {}, "limit": {"default": 3}}
    assert signature.build is None


def test_defaults_are_said_where_json_can_say_them() -> None:
    class Size(enum.Enum):
        BIG = "big"

    def handler(  # type: ignore[no-untyped-def]
        size: Size = Size.BIG,
        due: datetime.date = datetime.date(2026, 5, 1),
        missing: str = None,  # type: ignore[assignment]
        optional: Optional[str] = None,
        opaque: Any = object(),
        share: float = float("nan"),
    ): ...

    properties = read(handler).parameters["properties"]
    assert properties["size"]["default"] == "big" and properties["due"]["default"] == "2026-05-01"
    for name in ("missing", "opaque", "share"):
        assert "default" not in properties[name]
    assert properties["optional"]["default"] is None


def test_keyword_arguments_open_the_object() -> None:
    def handler(order_id: str, **rest): ...  # type: ignore[no-untyped-def]

    signature = read(handler)
    assert "additionalProperties" not in signature.parameters and signature.build is None

    def typed(order_id: str, **rest: int): ...  # type: ignore[no-untyped-def]

    assert read(typed).parameters["additionalProperties"] == {"type": "integer"}
    assert repr(built(typed, {"order_id": "a", "n": 2.0})) == "{'order_id': 'a', 'n': 2}"


@pytest.mark.parametrize(
    "text",
    ["def handler(a, /): ...", "def handler(a=1, /): ..."],
)
def test_positional_only_parameters_are_refused(text: str) -> None:
    names: Dict[str, Any] = {}
    exec(text, names)
    with pytest.raises(TypeError, match=r"`handler` of capability `find_order` takes `a` by position only"):
        read(names["handler"])


def test_star_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"takes \*orders, but arguments come by name"):
        read(lambda *orders: None)


def test_what_yields_or_is_no_function_is_refused() -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def stream() -> Any:
        yield 1

    for handler in (generator, stream):
        with pytest.raises(TypeError, match="yields; a capability has one result"):
            read(handler)
    with pytest.raises(TypeError, match=r"is of type int, not a function"):
        read(typing.cast(Any, 5))
    with pytest.raises(TypeError, match=r"is the class .*Signature, not a function"):
        read(Signature)


# --- the Context


def test_the_context_is_found_by_its_annotation_in_every_spelling() -> None:
    def plain(ctx: Context): ...  # type: ignore[no-untyped-def]
    def optional(ctx: Optional[Context] = None): ...  # type: ignore[no-untyped-def]
    def annotated(ctx: Annotated[Context, "of the call"]): ...  # type: ignore[no-untyped-def]
    def for_checkers_only(ctx: svantic.Context): ...  # type: ignore[name-defined, no-untyped-def] # noqa: F821
    def or_none(ctx: svantic.Context | None = None): ...  # type: ignore[name-defined, no-untyped-def] # noqa: F821
    def whole(ctx: Optional[svantic.context.Context]): ...  # type: ignore[name-defined, no-untyped-def] # noqa: F821

    for handler in (plain, optional, annotated, for_checkers_only, or_none, whole):
        signature = read(handler)
        assert signature.wants_context == "ctx", handler
        assert signature.parameters == EMPTY and signature.build is None


def test_a_parameter_named_context_is_the_context_unless_annotated_otherwise() -> None:
    assert read(lambda context: None).wants_context == "context"

    def handler(context: str): ...  # type: ignore[no-untyped-def]

    assert read(handler).wants_context is None
    assert read(handler).parameters["properties"] == {"context": TEXT}


def test_two_contexts_are_refused() -> None:
    def handler(one: Context, two: Context): ...  # type: ignore[no-untyped-def]

    with pytest.raises(TypeError, match="takes the Context twice, as `one` and as `two`"):
        read(handler)


def test_a_caller_cannot_put_a_context_or_a_bound_value_into_kwargs() -> None:
    def handler(database: str, context: Context, **rest: Any): ...  # type: ignore[no-untyped-def]

    bound = functools.partial(handler, database="ours")
    args = {"context": "forged", "database": "theirs", "a": 1}
    assert built(bound, args) == {"a": 1}
    assert built(bound, args, {"type": "object"}) == {"a": 1}


# --- what kinds of callables


class Desk:
    def find(self, order_id: str) -> None: ...
    async def wait(self, order_id: str) -> None: ...
    @classmethod
    def make(cls, order_id: str) -> None: ...
    @staticmethod
    def free(order_id: str) -> None: ...
    def __call__(self, order_id: str) -> None: ...


class AsyncDesk:
    async def __call__(self, order_id: str) -> None: ...


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def two(database: object, order_id: str) -> None: ...


async def later(order_id: str) -> None: ...


@pytest.mark.parametrize(
    ("handler", "is_coroutine"),
    [
        (Desk().find, False),
        (Desk().wait, True),
        (Desk.make, False),
        (Desk.free, False),
        (Desk(), False),
        (AsyncDesk(), True),
        (decorated(Desk().find), False),
        (functools.partial(two, object()), False),
        (functools.partial(two, database=Desk()), False),
        (functools.partial(functools.partial(two), object()), False),
        (later, True),
        (functools.partial(later), True),
        (functools.partial(AsyncDesk()), True),
        (functools.lru_cache(Desk.free), False),
        (decorated(functools.partial(two, object())), False),
    ],
)
def test_every_callable_is_read(handler: Any, is_coroutine: bool) -> None:
    signature = read(handler)
    assert signature.parameters["properties"] == {"order_id": TEXT}
    assert signature.parameters["required"] == ["order_id"]
    assert signature.is_coroutine is is_coroutine


def test_annotations_of_local_classes_are_found() -> None:
    @dataclasses.dataclass
    class Line:
        sku: str
        more: Optional[Line] = None

    @dataclasses.dataclass
    class Order:
        lines: List[Line]

    def handler(order: Order): ...  # type: ignore[no-untyped-def]

    got = built(handler, {"order": {"lines": [{"sku": "a", "more": {"sku": "b"}}]}})
    assert got == {"order": Order([Line("a", Line("b"))])}


class Shop:
    class Item(TypedDict):
        sku: str

    def list(self, item: Item, tags: List[str]) -> None: ...


def test_annotations_of_a_method_may_name_what_its_class_defines() -> None:
    schema = read(Shop().list).parameters
    assert schema["properties"]["item"] == {"$ref": "#/$defs/Item"}


def test_unions_with_a_bar_are_evaluated_or_refused_with_advice_where_python_cannot() -> None:
    def handler(a: str | None): ...  # type: ignore[no-untyped-def]

    if sys.version_info >= (3, 10):
        assert read(handler).parameters["properties"]["a"] == {"anyOf": [TEXT, {"type": "null"}]}
        return
    with pytest.raises(TypeError, match=r"`a: str \| None` .*write Optional\[.*Python 3\.10"):
        read(handler)


def test_an_annotation_that_cannot_be_found_names_handler_parameter_annotation_and_the_way_out() -> None:
    def handler(order: Hidden2): ...  # type: ignore[name-defined, no-untyped-def] # noqa: F821

    with pytest.raises(TypeError) as caught:
        read(handler)
    text = str(caught.value)
    for part in (
        "`order: Hidden2`",
        "handler` of capability `find_order`",
        "cannot be evaluated",
        "`parameters=`",
    ):
        assert part in text, text


def test_an_annotation_without_a_schema_names_handler_parameter_annotation_and_the_way_out() -> None:
    def handler(order: complex): ...  # type: ignore[no-untyped-def]

    with pytest.raises(
        TypeError, match=r"`order: complex` .*`find_order` has no JSON Schema.*give .*`parameters=`"
    ):
        read(handler)


# --- descriptions


def google(a: str, b: int = 1) -> None:
    """Finds.

    Args:
        a: The first
            of two.
        b (int, optional): The second: with a colon.

    Returns:
        Nothing: really.
    """


def numpy(a: str, b: int = 1) -> None:
    """Finds.

    Parameters
    ----------
    a : str
        The first
        of two.
    b : int, optional
        The second: with a colon.

    Returns
    -------
    None
        Nothing.
    """


def sphinx(a: str, b: int = 1) -> None:
    """Finds.

    :param a: The first
        of two.
    :param int b: The second: with a colon.
    :returns: Nothing.
    """


@pytest.mark.parametrize("handler", [google, numpy, sphinx])
def test_the_docstring_describes_the_parameters(handler: Any) -> None:
    assert read(handler).parameters["properties"] == {
        "a": {"type": "string", "description": "The first of two."},
        "b": {"type": "integer", "default": 1, "description": "The second: with a colon."},
    }


def test_annotated_wins_over_the_docstring() -> None:
    def handler(a: Annotated[str, "from the hint"]) -> None:
        """Finds.

        Args:
            a: from the docstring
        """

    assert read(handler).parameters["properties"]["a"]["description"] == "from the hint"


# --- building


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 2


@dataclasses.dataclass
class Line:
    sku: str
    count: int = 1
    due: Optional[datetime.date] = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count is negative")


@dataclasses.dataclass
class Special(Line):
    extra: str = ""


class Movie(TypedDict, total=False):
    year: int


class PlainMovie(TypedDict):
    title: str


class Point(NamedTuple):
    x: int
    y: int = 0


UTC = datetime.timezone.utc
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")

VALUES: List[Tuple[Any, Any, Any]] = [
    (int, 2.0, 2),
    (int, 10**30, 10**30),
    (List[int], [1, 2.0], [1, 2]),
    (Dict[str, int], {"a": 2.0}, {"a": 2}),
    (Optional[int], None, None),
    (Optional[int], 2.0, 2),
    (Union[str, int], "a", "a"),
    (datetime.datetime, "2026-05-01T08:00:00Z", datetime.datetime(2026, 5, 1, 8, tzinfo=UTC)),
    (datetime.datetime, "2026-05-01t08:00:00.1234567z", datetime.datetime(2026, 5, 1, 8, 0, 0, 123456, UTC)),
    (datetime.datetime, "2026-05-01T08:00:00.5", datetime.datetime(2026, 5, 1, 8, 0, 0, 500000)),
    (datetime.datetime, "2026-05-01 08:00", datetime.datetime(2026, 5, 1, 8)),
    (datetime.date, "2026-05-01", datetime.date(2026, 5, 1)),
    (datetime.time, "08:00:00.25Z", datetime.time(8, 0, 0, 250000, UTC)),
    (uuid.UUID, str(ID), ID),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (decimal.Decimal, 1.1, decimal.Decimal("1.1")),
    (decimal.Decimal, 3, decimal.Decimal(3)),
    (bytes, "/wA=", b"\xff\x00"),
    (pathlib.PurePosixPath, "/a", pathlib.PurePosixPath("/a")),
    (typing.Set[str], ["a"], {"a"}),
    (typing.FrozenSet[int], [1.0], frozenset([1])),
    (typing.Deque[str], ["a"], collections.deque(["a"])),
    (Tuple[str, ...], ["a", "b"], ("a", "b")),
    (Tuple[str, int], ["a", 2.0], ("a", 2)),
    (Colour, "red", Colour.RED),
    (Level, 2.0, Level.HIGH),
    (Literal[Colour.RED], "red", Colour.RED),
    (Literal[1, "a"], 1.0, 1),
    (Line, {"sku": "a", "count": 2.0, "due": "2026-05-01"}, Line("a", 2, datetime.date(2026, 5, 1))),
    (List[Line], [{"sku": "a"}], [Line("a")]),
    (Dict[str, Line], {"k": {"sku": "a"}}, {"k": Line("a")}),
    (Union[Line, Special], {"sku": "a", "extra": "b"}, Special("a", extra="b")),
    (Union[List[str], List[Line]], [{"sku": "a"}], [Line("a")]),
    (Union[datetime.date, str], "soon", "soon"),
    (Optional[Line], None, None),
    (Movie, {"year": 2.0}, {"year": 2}),
    (Point, [1.0], Point(1)),
]


def taking(hint: Any) -> Callable[..., Any]:
    def handler(value): ...  # type: ignore[no-untyped-def]

    handler.__annotations__ = {"value": hint}
    return handler


@pytest.mark.parametrize(("hint", "value", "expected"), VALUES, ids=[f"{row[0]}-{row[1]}" for row in VALUES])
def test_a_json_value_becomes_what_the_hint_says(hint: Any, value: Any, expected: Any) -> None:
    got = built(taking(hint), {"value": value})["value"]
    assert got == expected and repr(got) == repr(expected)


@pytest.mark.parametrize(
    "hint",
    [
        str, float, bool, Any, None, list, dict, List[str], Dict[str, Any], Optional[str], Literal["a"],
        Union[str, bool, None], PlainMovie, List[Optional[Dict[str, List[float]]]], typing.Sequence[str],
    ],
)  # fmt: skip
def test_what_json_has_is_passed_as_it_is(hint: Any) -> None:
    assert read(taking(hint)).build is None


MISFITS: List[Tuple[Any, Any, str]] = [
    (datetime.date, "2026-02-30", "the parameter `value` is no date such as 2026-05-01"),
    (datetime.datetime, "2026-05-01", "the parameter `value` is no date and time such as"),
    (datetime.time, "25:00:00", "the parameter `value` is no time"),
    (uuid.UUID, "sekret", "the parameter `value` is no UUID"),
    (decimal.Decimal, "NaN", "the parameter `value` is no decimal number"),
    (decimal.Decimal, "sekret", "the parameter `value` is no decimal number"),
    (bytes, "sekret!", "the parameter `value` is no base64"),
    (pathlib.PurePath, 5, "the parameter `value` is no path"),
    (int, 2.5, "the parameter `value` is no integer"),
    (int, float("inf"), "the parameter `value` is no integer"),
    (List[datetime.date], ["2026-05-01", "sekret"], "the parameter `value[1]` is no date"),
    (
        Line,
        {"sku": "a", "due": "sekret"},
        "the parameter `value.due` is no date such as 2026-05-01 and is not null",
    ),
    (
        List[Line],
        [{"sku": "a", "count": -1}],
        "the parameter `value[0]` is refused by Line: count is negative",
    ),
    (Line, {}, "the parameter `value.sku` is missing"),
    (Line, {"sku": "a", "x": 1}, "the parameter `value.x` is no field of Line"),
    (Line, "sekret", "the parameter `value` is no object"),
    (Dict[str, List[int]], {"k": ["sekret"]}, "the parameter `value.k[0]` is no integer"),
    (Tuple[int, str], [1], "the parameter `value` is no array of 2 items"),
    (Tuple[int, str], [1, 2], "the parameter `value[1]` is no text"),
    (Colour, "sekret", "the parameter `value` is none of the values that it may have"),
    (Union[Line, int], {"sku": "a", "due": "sekret"}, "the parameter `value.due` is no date"),
    (typing.Set[Any], [["sekret"]], "the parameter `value` has items that cannot be in a set"),
]


@pytest.mark.parametrize(("hint", "value", "text"), MISFITS, ids=[f"{row[0]}-{row[1]}" for row in MISFITS])
def test_a_value_that_does_not_fit_is_a_value_error_that_names_the_parameter(
    hint: Any, value: Any, text: str
) -> None:
    with pytest.raises(ValueError) as caught:
        built(taking(hint), {"value": value})
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith(text) and "sekret" not in str(caught.value)


def test_the_error_is_short_and_can_be_encoded() -> None:
    with pytest.raises(ValueError) as caught:
        built(taking(Dict[str, int]), {"value": {"\ud800" + "k" * 2000: "x"}})
    assert len(str(caught.value).encode("utf-8")) <= 512


@needs_pydantic
def test_pydantic_reads_its_models_and_its_errors_hide_the_values() -> None:
    class Item(pydantic.BaseModel):
        sku: str
        count: Annotated[int, pydantic.Field(gt=0)] = 1

    def handler(items: List[Item], limit: Annotated[int, pydantic.Field(gt=0)] = 5): ...  # type: ignore[no-untyped-def]

    signature = read(handler)
    assert signature.parameters["properties"]["items"]["items"] == {"$ref": "#/$defs/Item"}
    assert signature.parameters["properties"]["limit"] == {
        "type": "integer",
        "exclusiveMinimum": 0,
        "default": 5,
    }
    assert built(handler, {"items": [{"sku": "a"}]}) == {"items": [Item(sku="a")]}
    assert type(built(handler, {"items": [], "limit": 2.0})["limit"]) is int
    with pytest.raises(ValueError) as caught:
        built(handler, {"items": [{"sku": "a", "count": -4711}]})
    assert str(caught.value) == "the parameter `items[0].count` is not valid: Input should be greater than 0"


@needs_pydantic
def test_a_strict_model_takes_dates_from_json() -> None:
    class Strict(pydantic.BaseModel, strict=True):
        due: datetime.date

    assert built(taking(Strict), {"value": {"due": "2026-05-01"}})["value"].due == datetime.date(2026, 5, 1)
    with pytest.raises(ValueError, match="the parameter `value.due` is not valid: .*date"):
        built(taking(Strict), {"value": {"due": "sekret"}})


@needs_pydantic
def test_a_pydantic_field_as_default_is_refused() -> None:
    def handler(limit: int = pydantic.Field(5, gt=0)): ...  # type: ignore[no-untyped-def]

    with pytest.raises(TypeError, match=r"write `limit: Annotated\[T, Field\(\.\.\.\)\] = default`"):
        read(handler)


def test_integers_are_passed_without_a_copy_unless_one_is_written_as_a_float() -> None:
    def handler(a: int, b: int = 1) -> None: ...

    build = read(handler).build
    assert build is not None
    args = {"a": 1, "b": 2}
    assert build(args) is args
    assert repr(build({"a": 1, "b": 2.0})) == "{'a': 1, 'b': 2}"
    with pytest.raises(ValueError, match="the parameter `b` is no integer"):
        build({"a": 1, "b": 2.5})


# --- explicit parameters

ORDER = {"type": "object", "properties": {"order_id": TEXT}, "required": ["order_id"]}
CLOSED = {**ORDER, "additionalProperties": False}


def test_an_explicit_schema_wins_and_is_copied() -> None:
    def handler(order_id: int) -> None: ...

    given = {**CLOSED, "properties": {"order_id": {"type": "number", "x-mine": [1]}}}
    signature = read(handler, types.MappingProxyType(given))
    assert signature.parameters == given and signature.parameters["properties"] is not given["properties"]


def test_a_required_property_that_the_handler_cannot_take_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot take `order_id`, which its `parameters` require"):
        read(lambda other=1: None, ORDER)
    assert read(lambda **rest: None, ORDER).build is None


def test_a_parameter_that_the_schema_does_not_require_is_refused() -> None:
    with pytest.raises(TypeError, match="needs `limit`, which its `parameters` do not require"):
        read(lambda order_id, limit: None, ORDER)


def test_requirements_of_a_composed_schema_are_not_guessed() -> None:
    composed = {"type": "object", "allOf": [{"required": ["order_id"], "properties": {"order_id": TEXT}}]}
    assert built(lambda order_id: None, {"order_id": "a", "x": 1}, composed) == {"order_id": "a"}


def test_additional_properties_are_left_out_and_a_closed_schema_needs_no_building() -> None:
    assert built(lambda order_id: None, {"order_id": "a", "x": 1}, ORDER) == {"order_id": "a"}
    assert read(lambda order_id: None, CLOSED).build is None
    optional = {**CLOSED, "properties": {"order_id": TEXT, "note": TEXT}}
    assert built(lambda order_id: None, {"order_id": "a", "note": "n"}, optional) == {"order_id": "a"}


def test_values_are_still_converted_under_an_explicit_schema() -> None:
    def handler(order_id: uuid.UUID, line: Optional[Line] = None, odd: complex = 1j): ...  # type: ignore[no-untyped-def]

    args = {"order_id": str(ID), "line": {"sku": "a"}, "odd": [1, 2]}
    assert built(handler, args, ORDER) == {"order_id": ID, "line": Line("a"), "odd": [1, 2]}
    with pytest.raises(ValueError, match="the parameter `order_id` is no UUID"):
        built(handler, {"order_id": "a"}, ORDER)


def test_hints_that_cannot_be_evaluated_do_not_matter_under_an_explicit_schema() -> None:
    def handler(order_id: Nowhere): ...  # type: ignore[name-defined, no-untyped-def] # noqa: F821

    assert read(handler, CLOSED).build is None


@pytest.mark.parametrize(
    "parameters", [{}, {"type": "array"}, {"type": ["object"]}, {"type": "object", "required": 1}]
)
def test_parameters_that_are_no_schema_of_an_object_are_refused(parameters: Any) -> None:
    with pytest.raises(ValueError, match="the `parameters` of capability `find_order` must"):
        read(lambda: None, parameters)


def test_parameters_that_are_no_json_are_refused() -> None:
    with pytest.raises(TypeError, match=r"are no JSON: object is not JSON \(at \.default\)"):
        read(lambda: None, {"type": "object", "default": object()})


def test_a_property_named_like_the_context_is_refused() -> None:
    with pytest.raises(
        TypeError, match="takes the Context as `context`, which its `parameters` have as a property"
    ):
        read(lambda context: None, {"type": "object", "properties": {"context": TEXT}})


# --- together


def test_what_is_built_calls_the_handler() -> None:
    async def handler(order: Line, *, limit: int = 3, context: Context) -> Any:
        return order, limit, context

    signature = read(handler)
    assert signature.is_coroutine and signature.wants_context == "context" and signature.build is not None
    keywords = signature.build({"order": {"sku": "a"}, "limit": 2.0})
    inspect.signature(handler).bind(context=1, **keywords)
    assert asyncio.run(handler(context=typing.cast(Any, 1), **keywords)) == (Line("a"), 2, 1)
