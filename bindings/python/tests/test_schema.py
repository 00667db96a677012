"""Hints become JSON Schemas that the library accepts and that admit what the reader then reads."""

# Hints are tested in every spelling, the old ones too.
# ruff: noqa: UP006, UP035, UP045

from __future__ import annotations

import ctypes
import dataclasses
import datetime
import decimal
import enum
import importlib.util
import json
import os
import pathlib
import sys
import typing
import uuid
from collections.abc import Iterator
from typing import (
    Annotated,
    Any,
    Dict,
    List,
    Literal,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    TypedDict,
    Union,
)

import pytest

from svantic._hints import Scope, Unsupported
from svantic._schema import SchemaWriter

if sys.version_info >= (3, 11):
    from typing import NotRequired, Required
elif importlib.util.find_spec("typing_extensions") is not None:
    from typing_extensions import NotRequired, Required
else:
    NotRequired = Required = None  # type: ignore[assignment]

HAVE_PYDANTIC = importlib.util.find_spec("pydantic") is not None
if HAVE_PYDANTIC:
    import pydantic

needs_pydantic = pytest.mark.skipif(not HAVE_PYDANTIC, reason="pydantic is not installed")
needs_not_required = pytest.mark.skipif(
    NotRequired is None, reason="NotRequired is in typing_extensions here"
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Mixed(enum.Enum):
    TWO = 2
    YES = True
    WORD = "word"


class Bits(enum.Flag):
    A = 1


class Odd(enum.Enum):
    PAIR = (1, 2)


@dataclasses.dataclass
class Address:
    """Where it goes.

    More about it.
    """

    street: str
    number: int = 1
    tags: List[str] = dataclasses.field(default_factory=list)
    serial: int = dataclasses.field(default=0, init=False)


@dataclasses.dataclass
class Tree:
    name: str
    children: List[Tree] = dataclasses.field(default_factory=list)
    parent: Optional[Tree] = None


class Movie(TypedDict):
    title: str


class Details(Movie, total=False):
    year: int


class Point(NamedTuple):
    x: float
    y: float
    label: str = ""


@dataclasses.dataclass
class WithInitVar:
    seed: dataclasses.InitVar[int]


def schema_of(hint: Any) -> Any:
    writer = SchemaWriter(Scope(schema_of))
    schema = writer.describe(hint)
    return {**schema, "$defs": writer.definitions} if writer.definitions else schema


UserId = typing.NewType("UserId", int)
NULL = {"type": "null"}
TEXT = {"type": "string"}
WHOLE = {"type": "integer"}

PLAIN: list[tuple[Any, Any]] = [
    (str, TEXT),
    (int, WHOLE),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (None, NULL),
    (Any, {}),
    (object, {}),
    (list, {"type": "array"}),
    (List, {"type": "array"}),
    (List[int], {"type": "array", "items": WHOLE}),
    (List[Any], {"type": "array"}),
    (Sequence[str], {"type": "array", "items": TEXT}),
    (typing.Iterable[str], {"type": "array", "items": TEXT}),
    (typing.Set[str], {"type": "array", "items": TEXT, "uniqueItems": True}),
    (typing.FrozenSet[str], {"type": "array", "items": TEXT, "uniqueItems": True}),
    (typing.Tuple[str, ...], {"type": "array", "items": TEXT}),
    (typing.Tuple[str, int], {"type": "array", "prefixItems": [TEXT, WHOLE], "minItems": 2, "maxItems": 2}),
    (tuple, {"type": "array"}),
    (dict, {"type": "object"}),
    (Dict[str, int], {"type": "object", "additionalProperties": WHOLE}),
    (Mapping[str, Any], {"type": "object"}),
    (Optional[str], {"anyOf": [TEXT, NULL]}),
    (Union[str, int, None], {"anyOf": [TEXT, WHOLE, NULL]}),
    (Optional[Any], {}),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
    (Literal["a", 1, None], {"enum": ["a", 1, None]}),
    (Literal[Colour.RED], {"type": "string", "enum": ["red"]}),
    (Colour, {"type": "string", "enum": ["red", "blue"]}),
    (Mixed, {"enum": [2, True, "word"]}),
    (UserId, WHOLE),
    (datetime.datetime, {"type": "string", "format": "date-time"}),
    (datetime.date, {"type": "string", "format": "date"}),
    (datetime.time, {"type": "string", "format": "time"}),
    (uuid.UUID, {"type": "string", "format": "uuid"}),
    (decimal.Decimal, {"anyOf": [{"type": "string", "format": "decimal"}, {"type": "number"}]}),
    (bytes, {"type": "string", "contentEncoding": "base64"}),
    (pathlib.Path, {"type": "string", "format": "path"}),
    (Annotated[str, "the name"], {"type": "string", "description": "the name"}),
    (List[Annotated[int, "one"]], {"type": "array", "items": {"type": "integer", "description": "one"}}),
]


@pytest.mark.parametrize(("hint", "schema"), PLAIN, ids=[str(row[0]) for row in PLAIN])
def test_a_hint_becomes_its_schema(hint: Any, schema: Any) -> None:
    assert schema_of(hint) == schema


def test_a_dataclass_is_a_closed_object_with_defaults_and_required_fields() -> None:
    assert schema_of(Address) == {
        "$ref": "#/$defs/Address",
        "$defs": {
            "Address": {
                "type": "object",
                "description": "Where it goes.",
                "properties": {
                    "street": TEXT,
                    "number": {"type": "integer", "default": 1},
                    "tags": {"type": "array", "items": TEXT},
                },
                "required": ["street"],
                "additionalProperties": False,
            }
        },
    }


def test_a_type_that_contains_itself_refers_to_its_definition() -> None:
    schema = schema_of(Tree)
    assert schema["$ref"] == "#/$defs/Tree"
    properties = schema["$defs"]["Tree"]["properties"]
    assert properties["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert properties["parent"] == {"anyOf": [{"$ref": "#/$defs/Tree"}, NULL], "default": None}


def test_the_total_of_a_typed_dict_says_what_is_required() -> None:
    schema = schema_of(Details)["$defs"]["Details"]
    assert schema["required"] == ["title"] and list(schema["properties"]) == ["title", "year"]
    assert schema["additionalProperties"] is False and "description" not in schema


@needs_not_required
def test_required_and_not_required_win_also_under_postponed_annotations() -> None:
    class Parcel(TypedDict, total=False):
        code: Required[str]
        weight: int

    class Crate(TypedDict):
        code: str
        weight: NotRequired[Annotated[int, "grams"]]

    for cls in (Parcel, Crate):
        schema = schema_of(cls)["$defs"][cls.__name__]
        assert schema["required"] == ["code"]
        assert schema["properties"]["weight"]["type"] == "integer"
    assert schema["properties"]["weight"]["description"] == "grams"


def test_a_named_tuple_is_an_array_as_it_is_in_results() -> None:
    number = {"type": "number"}
    assert schema_of(Point)["$defs"]["Point"] == {
        "type": "array",
        "prefixItems": [
            {"title": "x", **number},
            {"title": "y", **number},
            {"title": "label", "type": "string", "default": ""},
        ],
        "minItems": 2,
        "maxItems": 3,
    }


def test_two_types_of_one_name_have_two_definitions() -> None:
    def other() -> type:
        @dataclasses.dataclass
        class Address:
            zip: str

        return Address

    schema = schema_of(typing.Tuple[Address, other(), Address])
    assert schema["prefixItems"] == [
        {"$ref": f"#/$defs/{name}"} for name in ("Address", "Address_2", "Address")
    ]
    assert list(schema["$defs"]["Address_2"]["properties"]) == ["zip"]


if sys.version_info >= (3, 12):  # the statement came with it

    def test_a_recursive_alias_is_a_definition() -> None:
        names: dict[str, Any] = {}
        exec("type Nested = int | list[Nested]", names)
        items = {"type": "array", "items": {"$ref": "#/$defs/Nested"}}
        assert schema_of(names["Nested"])["$defs"]["Nested"] == {"anyOf": [WHOLE, items]}


@pytest.mark.parametrize(
    ("hint", "why"),
    [
        (complex, "complex has no JSON Schema"),
        (typing.Callable[[], int], "has no JSON Schema"),
        (Dict[int, str], "the key type must be str"),
        (Bits, "flags combine"),
        (Odd, "PAIR"),
        (Literal[b"x"], "the literal b'x'"),
        (WithInitVar, "InitVar"),
        (typing.TypeVar("T"), "has no JSON Schema"),
    ],
)
def test_a_hint_without_a_schema_is_refused_with_the_reason(hint: Any, why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        schema_of(hint)


def models() -> dict[str, Any]:
    class Item(pydantic.BaseModel):
        sku: Annotated[str, pydantic.Field(min_length=1)]
        parts: List[Item] = []

    Item.model_rebuild(_types_namespace={"Item": Item})
    first = Item

    class Order(pydantic.BaseModel):
        items: List[first]  # type: ignore[valid-type]
        placed: datetime.datetime

    Order.model_rebuild(_types_namespace={"first": first, "List": List, "datetime": datetime})

    class Cat(pydantic.BaseModel):
        kind: Literal["cat"]

    class Dog(pydantic.BaseModel):
        kind: Literal["dog"]

    pet = Annotated[Union[Cat, Dog], pydantic.Field(discriminator="kind")]
    return {"Item": Item, "Order": Order, "Pet": pet, "Cat": Cat}


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        if isinstance(schema.get("mapping"), dict):
            yield from schema["mapping"].values()
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


@needs_pydantic
def test_every_reference_of_pydantic_models_resolves_in_the_whole_schema() -> None:
    made = models()

    class Item(TypedDict):  # the same name as a model
        own: int

    class Cat(TypedDict):
        own: int

    schema = schema_of(typing.Tuple[Item, Cat, made["Order"], made["Item"], made["Pet"]])  # noqa: F821
    found = set(references(schema))
    assert found and all(name.startswith("#/$defs/") and name[8:] in schema["$defs"] for name in found)
    assert schema["$defs"]["Item"]["properties"] == {"own": WHOLE}
    order = schema["$defs"][schema["prefixItems"][2]["$ref"][8:]]
    item = schema["$defs"][order["properties"]["items"]["items"]["$ref"][8:]]
    assert item["properties"]["sku"]["minLength"] == 1
    pet = schema["prefixItems"][4]
    assert schema["$defs"][pet["discriminator"]["mapping"]["cat"][8:]]["properties"]["kind"]["const"] == "cat"


@needs_pydantic
def test_annotated_with_a_pydantic_field_carries_its_limits() -> None:
    hint = Annotated[int, pydantic.Field(gt=0, description="how many")]
    assert schema_of(hint) == {"type": "integer", "exclusiveMinimum": 0, "description": "how many"}
    assert schema_of(Optional[hint])["anyOf"][0]["exclusiveMinimum"] == 0


class Library:
    """The real library's opinion of a schema."""

    def __init__(self, path: str) -> None:
        self.native = ctypes.CDLL(path)
        self.native.svantic_last_error.restype = ctypes.c_char_p
        define = self.native.svantic_define_capability
        pointer = ctypes.c_void_p
        define.argtypes = [pointer, ctypes.c_char_p, pointer, pointer, pointer]
        self.native.svantic_free.argtypes = [ctypes.c_void_p]
        config = {"name": "schemas", "description": "d", "token": "a.b.c", "delivery": "pull"}
        self.handle = ctypes.c_void_p()
        status = self.native.svantic_create(json.dumps(config).encode(), ctypes.byref(self.handle))
        assert status == 0, self.native.svantic_last_error()
        self.count = 0

    def refusal(self, parameters: Any) -> str | None:
        self.count += 1
        spec = {"name": f"c{self.count}", "description": "d", "parameters": parameters}
        status = self.native.svantic_define_capability(
            self.handle, json.dumps(spec).encode(), None, None, None
        )
        return None if status == 0 else self.native.svantic_last_error().decode()


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    path = os.environ.get("SVANTIC_LIBRARY")
    if not path:
        import svantic

        beside = pathlib.Path(next(iter(svantic.__path__))) / "libsvantic.so"
        assert beside.exists(), "set SVANTIC_LIBRARY to the shared library"
        path = str(beside)
    library = Library(path)
    yield library
    library.native.svantic_free(library.handle)


def as_parameters(hint: Any) -> Any:
    writer = SchemaWriter(Scope(schema_of))
    described = writer.describe(hint)
    return {"type": "object", "properties": {"value": described}, "$defs": writer.definitions}


NAMED = [Address, Tree, Movie, Details, Point]


@pytest.mark.parametrize("hint", [row[0] for row in PLAIN] + NAMED, ids=str)
def test_the_library_accepts_the_schema(library: Library, hint: Any) -> None:
    assert library.refusal(as_parameters(hint)) is None


@needs_pydantic
@pytest.mark.parametrize("name", ["Item", "Order", "Pet"])
def test_the_library_accepts_the_schema_of_a_model(library: Library, name: str) -> None:
    assert library.refusal(as_parameters(models()[name])) is None


def test_the_library_refuses_a_reference_that_does_not_resolve(library: Library) -> None:
    refusal = library.refusal({"type": "object", "properties": {"a": {"$ref": "#/$defs/Missing"}}})
    assert refusal is not None and "no JSON Schema" in refusal
