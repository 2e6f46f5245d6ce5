"""The values that scripts leave, as JSON."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import types
import uuid

import msgspec
import pytest

from gz_provider_python import results
from gz_provider_python.results import MAX_DEPTH, NotSerialisable, depth_of, from_output, to_json


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    pass


class Number(float):
    pass


@dataclasses.dataclass
class Point:
    x: int
    label: object = None


class Array:
    """Stands for numpy's arrays and scalars."""

    def tolist(self) -> list[int]:
        return [1, 2]


class Table:
    """Stands for a pandas DataFrame."""

    columns = ("a",)

    def to_dict(self, orient: str) -> list[dict[str, int]]:
        assert orient == "records"
        return [{"a": 1}]


class Model:
    """Stands for a pydantic model."""

    def model_dump(self, mode: str) -> dict[str, str]:
        return {"mode": mode}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"a": [1, 2.5, True, "ü"]}, {"a": [1, 2.5, True, "ü"]}),
        (2**70, 2**70),
        ((1, (2,)), [1, [2]]),
        ({3}, [3]),
        (frozenset({"x"}), ["x"]),
        (range(3), [0, 1, 2]),
        (collections.deque([1]), [1]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        ({2: "a", 2.5: "b", None: "c", True: "d"}, {"2": "a", "2.5": "b", "null": "c", "true": "d"}),
        ({Colour.RED: 1}, {"red": 1}),
        (Colour.RED, "red"),
        (Text("t"), "t"),
        (Number(1.5), 1.5),
        (datetime.datetime(2026, 11, 20, 13, 46, tzinfo=datetime.UTC), "2026-11-20T13:46:00Z"),
        (datetime.date(2026, 11, 20), "2026-11-20"),
        (datetime.timedelta(seconds=90), "PT90S"),
        (decimal.Decimal("1.10"), "1.10"),
        (fractions.Fraction(1, 3), "1/3"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.Path("/a/b"), "/a/b"),
        (b"ab", "YWI="),
        (bytearray(b"ab"), "YWI="),
        (Point(1, Point(2)), {"x": 1, "label": {"x": 2, "label": None}}),
        (Array(), [1, 2]),
        (Table(), [{"a": 1}]),
        (Model(), {"mode": "json"}),
    ],
)
def test_a_value_becomes_json(value: object, expected: object) -> None:
    assert msgspec.json.decode(to_json(value)) == expected


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (lambda: 1, "result is of type function, which cannot be expressed as JSON; call it and keep what it returns"),
        (
            {"rows": [1, iter(())]},
            "result.rows[1] is of type tuple_iterator, which cannot be expressed as JSON; make a list",
        ),
        (Point(1, object()), "result.label is of type object"),
        ({"a": {(1, 2): 3}}, "result.a has a key of type tuple"),
        (Point, "result is of type type"),
        (1j, "result is of type complex"),
        ("\ud800", "not valid Unicode"),
        (float("nan"), "result is NaN, which JSON cannot express; give None or a text in its place"),
        ({"rows": [None, {"x": float("-inf")}]}, "result.rows[1].x is infinite, which JSON cannot express"),
        (Point(1, Number("nan")), "result.label is NaN"),
        ({"a": (1, {Number("inf")})}, "result.a[1][0] is infinite"),
    ],
)
def test_what_cannot_be_json_is_named_with_its_place(value: object, complaint: str) -> None:
    with pytest.raises(NotSerialisable) as caught:
        to_json(value)
    assert complaint in str(caught.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(NotSerialisable, match="contains itself"):
        to_json(loop)


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_nesting_has_a_limit() -> None:
    assert to_json(nested(MAX_DEPTH))
    with pytest.raises(NotSerialisable, match="nested more than"):
        to_json(nested(MAX_DEPTH + 1))


def test_size_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "MAX_REPORT_BYTES", 100)
    with pytest.raises(NotSerialisable, match="write it to a file"):
        to_json("x" * 100)


def test_a_number_that_is_not_written_out() -> None:
    with pytest.raises(NotSerialisable, match=r"result\.n\[1\] is an integer of more than 4,300 digits; give hex"):
        to_json({"n": [1, 10**5000]})


def test_depth_counts_brackets_but_not_those_in_text() -> None:
    wide = b"[" + b",".join([b'{"a":["]]]]\\"[[[["]}'] * 100) + b"]"
    assert depth_of(wide) == 3


@pytest.mark.parametrize(
    ("text", "whole", "expected"),
    [
        ("", True, None),
        ("\n  \n", True, None),
        ("5\n", True, 5),
        ('starting\n{"a": 1}\n', True, {"a": 1}),
        ('{\n "a": 1\n}\n', True, {"a": 1}),
        ("hello\nworld\n", True, "hello\nworld"),
        ("1\n… 9 bytes left out …\n[2]", False, [2]),
        ("NaN", True, "NaN"),
        ("[" * 10_000, True, "[" * 10_000),
    ],
)
def test_a_script_without_a_result_gives_what_it_printed(text: str, whole: bool, expected: object) -> None:
    assert from_output(text, whole=whole) == expected
