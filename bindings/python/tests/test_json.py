"""One behaviour of `svantic._json` with orjson and without."""

# ruff: noqa: UP006, UP035

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import importlib.util
import json
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, List, NamedTuple

import pytest

import svantic._json

SOURCE = pathlib.Path(svantic._json.__file__)


def load(name: str, *, hide: bool) -> Any:
    """A second copy of the module, made while orjson is or is not to be had."""
    spec = importlib.util.spec_from_file_location(name, SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = {key: sys.modules.get(key) for key in ("orjson",)}
    if hide:
        sys.modules["orjson"] = None  # type: ignore[assignment]
    try:
        spec.loader.exec_module(module)
    finally:
        for key, value in before.items():
            if value is None:
                sys.modules.pop(key, None)
            else:
                sys.modules[key] = value
    return module


ENCODERS = ["json"] if importlib.util.find_spec("orjson") is None else ["json", "orjson"]


@pytest.fixture(params=ENCODERS)
def codec(request: pytest.FixtureRequest) -> Any:
    module = load(f"svantic._json_with_{request.param}", hide=request.param == "json")
    assert hasattr(module, "_orjson") == (request.param == "orjson")
    return module


class Colour(enum.Enum):
    RED = "red"
    NOTHING = None


class Level(enum.IntEnum):
    HIGH = 3


class Word(str, enum.Enum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: float


class Text(str):
    pass


class Count(int):
    pass


class Ratio(float):
    pass


class Bag(dict):  # type: ignore[type-arg]
    pass


class Row(list):  # type: ignore[type-arg]
    pass


@dataclasses.dataclass
class Line:
    sku: str
    due: datetime.date | None = None
    _hidden: int = 1


@dataclasses.dataclass(frozen=True)
class Slotted:
    __slots__ = ("a",)
    a: object


class Proxy(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return {"a": 1}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


NAN, INFINITE = float("nan"), float("inf")
EAST = datetime.timezone(datetime.timedelta(hours=2))
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")

TABLE: list[tuple[str, Any, Any]] = [
    ("plain", {"a": [1, 2.5, "x", True, None], "b": {}}, {"a": [1, 2.5, "x", True, None], "b": {}}),
    ("text beyond ASCII", 'grüße 😀\n"\\\x00', 'grüße 😀\n"\\\x00'),
    ("nan", {"a": [NAN, 1], "b": INFINITE, "c": -INFINITE}, {"a": [None, 1], "b": None, "c": None}),
    ("nan in a tuple", (1, (NAN,)), [1, [None]]),
    ("nan in a dataclass", Slotted([NAN]), {"a": [None]}),
    ("64 bits", [2**63 - 1, -(2**63), 2**64 - 1], [2**63 - 1, -(2**63), 2**64 - 1]),
    ("beyond 64 bits", [2**64, -(2**63) - 1, 10**40], [2**64, -(2**63) - 1, 10**40]),
    ("keys", {1: "i", None: "n", 1.5: "f", "s": "s"}, {"1": "i", "null": "n", "1.5": "f", "s": "s"}),
    ("bool keys", {True: 1, False: 0}, {"true": 1, "false": 0}),
    ("enum keys", {Colour.RED: 1, Level.HIGH: 2, Word.YES: 3}, {"red": 1, "3": 2, "yes": 3}),
    ("null enum key", {Colour.NOTHING: 1}, {"null": 1}),
    ("other keys", {ID: 1, datetime.date(2026, 5, 1): 2}, {str(ID): 1, "2026-05-01": 2}),
    (
        "decimal and path keys",
        {decimal.Decimal("1.50"): 1, pathlib.PurePosixPath("a/b"): 2},
        {"1.50": 1, "a/b": 2},
    ),
    ("text subclass key", {Text("k"): 1}, {"k": 1}),
    ("big int key", {10**30: 1}, {"1" + "0" * 30: 1}),
    ("enums", [Colour.RED, Level.HIGH, Word.YES, Colour.NOTHING], ["red", 3, "yes", None]),
    ("subclasses", [Text("t"), Count(4), Ratio(0.5), Bag(a=1), Row([1])], ["t", 4, 0.5, {"a": 1}, [1]]),
    ("nan subclass", Ratio("nan"), None),
    ("ordered", collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    ("named tuple", Point(1, 2.0), [1, 2.0]),
    ("dataclass", Line("a", datetime.date(2026, 5, 1)), {"sku": "a", "due": "2026-05-01", "_hidden": 1}),
    ("dataclasses inside", {"l": [Line("a")]}, {"l": [{"sku": "a", "due": None, "_hidden": 1}]}),
    ("naive", datetime.datetime(2026, 5, 1, 8, 0), "2026-05-01T08:00:00"),
    ("utc", datetime.datetime(2026, 5, 1, 8, tzinfo=datetime.timezone.utc), "2026-05-01T08:00:00+00:00"),
    ("offset", datetime.datetime(2026, 5, 1, 8, 0, 0, 5, EAST), "2026-05-01T08:00:00.000005+02:00"),
    ("time", datetime.time(8, 30, 1), "08:30:01"),
    ("aware time", datetime.time(8, 30, tzinfo=EAST), "08:30:00+02:00"),
    ("uuid", ID, str(ID)),
    ("decimal", decimal.Decimal("1.10"), "1.10"),
    ("set", [{1}, frozenset(["a"]), collections.deque([1, 2])], [[1], ["a"], [1, 2]]),
    ("mapping", Proxy(), {"a": 1}),
    ("views", [{"a": 1}.keys(), {"a": 1}.values(), {"a": 1}.items()], [["a"], [1], [["a", 1]]]),
    ("range", range(3), [0, 1, 2]),
    ("bytes", [b"\xff\x00", bytearray(b"a"), memoryview(b"a")], ["/wA=", "YQ==", "YQ=="]),
    ("path", pathlib.PurePosixPath("/a/b"), "/a/b"),
]


@pytest.mark.parametrize(("value", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_value_becomes_the_same_json_with_either_encoder(codec: Any, value: Any, expected: Any) -> None:
    text = codec.dumps(value)
    assert isinstance(text, bytes)
    decoded = json.loads(text)
    assert decoded == expected
    assert repr(decoded) == repr(expected)  # 1, 1.0 and True are equal


class Unknown:
    pass


def circle() -> Any:
    value: dict[str, Any] = {}
    value["a"] = [value]
    return value


def circle_of_dataclasses() -> Any:
    holder: list[Any] = []
    holder.append(Slotted(holder))
    return holder


class Failing:
    @property
    def model_fields(self) -> dict[str, Any]:
        return {}

    model_config = model_fields

    def model_dump(self, mode: str) -> Any:
        raise LookupError("the row is gone")


REFUSED: list[tuple[str, Any, list[str]]] = [
    ("object", {"items": [1, {"owner": Unknown()}]}, ["Unknown is not JSON", ".items[1].owner"]),
    ("complex", 1j, ["complex is not JSON"]),
    ("function", [print], ["builtin_function_or_method", "[0]"]),
    ("generator", {"a": (i for i in [1])}, ["generator is not JSON", ".a"]),
    ("iterator", iter([1]), ["list_iterator is not JSON"]),
    ("timedelta", datetime.timedelta(1), ["datetime.timedelta is not JSON"]),
    ("class", Unknown, ["type is not JSON"]),
    ("tuple key", {"a": {(1, 2): 3}}, ["tuple cannot be the key", ".a"]),
    ("nan key", {NAN: 1}, ["NaN or an infinity cannot be the key"]),
    ("surrogate", {"name": ["ok", "a\ud800b"]}, ["lone surrogate U+D800", ".name[1]"]),
    ("surrogate key", {"a\udc80": 1}, ["lone surrogate U+DC80"]),
    ("circle", circle(), ["contains itself"]),
    ("circle of dataclasses", circle_of_dataclasses(), ["contains itself"]),
    ("failing model", {"m": Failing()}, ["Failing cannot be encoded: the row is gone", ".m"]),
]


@pytest.mark.parametrize(("value", "parts"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_no_json_is_a_type_error_that_names_type_and_place(
    codec: Any, value: Any, parts: list[str]
) -> None:
    with pytest.raises(TypeError) as caught:
        codec.dumps(value)
    for part in parts:
        assert part in str(caught.value)
    str(caught.value).encode("utf-8")


def test_the_text_is_compact(codec: Any) -> None:
    assert codec.dumps({"a": [1, "ü"], "b": None}) == '{"a":[1,"ü"],"b":null}'.encode()


@pytest.mark.parametrize(
    "text", ['{"a":[1,2.5,"ü",true,null]}', "[]", '"x"', "12345678901234567890123", "-0.0", " 1 "]
)
def test_texts_and_bytes_decode_alike(codec: Any, text: str) -> None:
    expected = json.loads(text)
    for given in (text, text.encode("utf-8")):
        assert repr(codec.loads(given)) == repr(expected)


def test_integers_beyond_64_bits_stay_exact_both_ways(codec: Any) -> None:
    for number in (2**63, 2**64, -(2**64), 10**50 + 7):
        decoded = codec.loads(codec.dumps({"n": [number]}))["n"][0]
        assert type(decoded) is int and decoded == number


@pytest.mark.parametrize(
    "text",
    [
        "x" * 90_000,
        "1" * 90_000,
        'a "quoted" ' * 9_000,
        'one " quote' + "x" * 90_000,
        "ends in a backslash\\" + "x" * 90_000,
        "[" * 90_000,
        "\u20ac" * 90_000,
        "two\nlines" * 9_000,
    ],
    ids=["plain", "digits", "quotes", "quote", "backslash", "brackets", "euros", "lines"],
)
@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40, 2**64 - 1])
def test_integers_beyond_64_bits_stay_exact_beside_long_texts(codec: Any, text: str, number: int) -> None:
    for value in (
        {"text": text, "number": number},
        {"number": number, "text": text},
        [text, "", number, text, [number]],
        {text: number, "": text},
        {str(number): text, "n": 1.5},
    ):
        assert repr(codec.loads(json.dumps(value))) == repr(value)
        assert repr(codec.loads(json.dumps(value, ensure_ascii=False).encode())) == repr(value)


def test_one_odd_value_does_not_spoil_a_batch(codec: Any) -> None:
    batch = codec.loads(b'[{"a":"\\ud800"},{"b":1e999},{"c":' + b"9" * 90_000 + b'},{"d":"fine"}]')
    assert batch[0]["a"] == "\ud800" and batch[1]["b"] == INFINITE and batch[3]["d"] == "fine"
    assert batch[2]["c"] > 10**300


@pytest.mark.skipif(not hasattr(sys, "get_int_max_str_digits"), reason="this interpreter writes any int")
def test_an_integer_that_the_interpreter_does_not_write_is_a_type_error(codec: Any) -> None:
    with pytest.raises(TypeError, match="a value cannot be written as JSON: .*4300"):
        codec.dumps([10**5000])


@pytest.mark.parametrize("text", ["", "{", "nope", '{"a":1}x', "[1,]"])
def test_what_is_no_json_text_is_a_value_error(codec: Any, text: str) -> None:
    with pytest.raises(ValueError):
        codec.loads(text)


def test_a_pydantic_model_becomes_what_model_dump_says(codec: Any) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Order(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        when: datetime.datetime
        share: float = NAN

    order = Order(when="2026-05-01T08:00:00Z")
    assert json.loads(codec.dumps({"o": [order]})) == {"o": [{"when": "2026-05-01T08:00:00Z", "share": None}]}
    assert codec.dumps(pydantic.AnyUrl("http://a.example/b")) == b'"http://a.example/b"'
    assert json.loads(codec.dumps([pydantic.RootModel[List[int]]([1])])) == [[1]]
    with pytest.raises(TypeError, match=r"type is not JSON|ModelMetaclass is not JSON"):
        codec.dumps(Order)


def test_the_value_is_not_changed(codec: Any) -> None:
    value = {1: [NAN, (Line("a"),)]}
    shown = repr(value)
    codec.dumps(value)
    assert repr(value) == shown


def test_it_works_where_neither_orjson_nor_pydantic_can_be_imported() -> None:
    program = f"""
import sys
sys.modules["orjson"] = sys.modules["pydantic"] = sys.modules["typing_extensions"] = None
sys.path.insert(0, {str(SOURCE.parent.parent)!r})
from svantic import _json
from svantic._signature import signature_of
def find(order_id: int, tags: "list[str]" = ()) -> None: ...
signature = signature_of(find, parameters=None, capability="find")
assert _json.loads(_json.dumps({{"a": float("nan")}})) == {{"a": None}}
assert signature.build({{"order_id": 2.0}}) == {{"order_id": 2}}
print(_json.dumps(signature.parameters["required"]).decode())
"""
    # -S: no site-packages either.
    done = subprocess.run(
        [sys.executable, "-B", "-S", "-I", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr, done.returncode) == ('["order_id"]\n', "", 0)
