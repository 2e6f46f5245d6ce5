import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.errors import DocumentError
from gleitzeit.spec.loading import load as load_module
from gleitzeit.spec.loading.load import LARGE_JSON_BYTES, Document, load_file, load_object, load_text
from gleitzeit.spec.loading.scalars import plain_scalar
from gleitzeit.spec.problems import Problem, problems_of


def _reads_alike_everywhere(text: str) -> bool:
    """Other YAML programs take `0E0` for a text, and write it without quotes."""
    return isinstance(plain_scalar(text), str)


names = st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), max_size=12).filter(_reads_alike_everywhere)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)
# What YAML is made of, thrown together.
SCRAPS = ["a", "b: ", "- ", "\n", "\n  ", "{", "}", "[", "]", ", ", ": ", "&x ", "*x", "<<: ", "|\n", ">\n", "'", '"']
MORE_SCRAPS = ["# c\n", "---\n", "...\n", "!t ", "!!str ", "? ", "\t", "%YAML 1.1\n", "null", "1", "\x00", "\x85", "é"]
scraps = st.lists(st.sampled_from([*SCRAPS, *MORE_SCRAPS]), max_size=40).map("".join)


def problems(text: bytes | str, **options: Any) -> list[Problem]:
    with pytest.raises(DocumentError) as caught:
        load_text(text, **options)
    found = problems_of(caught.value)
    assert found
    return list(found)


def places(found: list[Problem]) -> list[tuple[int, int, str]]:
    return [(one.line, one.column, one.message) for one in found]


def test_yaml_values() -> None:
    text = "a: 1\nb: [x, 'y', 2.5]\nc:\n  d: |\n    one\n    two\n  e: >-\n    folded\n    text\nf: no\n1: key\n"
    assert load_text(text).value == {
        "a": 1,
        "b": ["x", "y", 2.5],
        "c": {"d": "one\ntwo\n", "e": "folded text"},
        "f": "no",
        "1": "key",
    }


def test_anchors_aliases_and_merging() -> None:
    text = "base: &b {x: 1, y: {z: 2}}\na: *b\nc: {<<: *b, x: 3}\nd:\n  <<: [{x: 4}, *b]\n"
    value: Any = load_text(text).value
    assert value["a"] == {"x": 1, "y": {"z": 2}}
    assert value["c"] == {"x": 3, "y": {"z": 2}}
    assert value["d"] == {"x": 4, "y": {"z": 2}}


def test_a_quoted_merge_key_is_a_key() -> None:
    assert load_text("'<<': 3").value == {"<<": 3}


def test_standard_text_tags_are_understood() -> None:
    assert load_text("a: !!str 12\nb: ! 12").value == {"a": "12", "b": "12"}


@given(json_values)
def test_what_json_writes_is_read_as_json_and_as_yaml(value: Any) -> None:
    text = json.dumps(value)
    assert load_text(text, name="x.json").value == value


@given(json_values)
def test_what_yaml_writes_is_read(value: Any) -> None:
    """Quoted and unquoted: the dumper quotes what would be read as something else."""
    text = yaml.safe_dump({"value": value}, allow_unicode=True, sort_keys=False)
    assert load_text(text).value == {"value": value}


@given(scraps)
def test_any_text_is_a_value_or_a_document_error(text: str) -> None:
    _loads_or_explains(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_document_error(content: bytes) -> None:
    _loads_or_explains(content)


def _loads_or_explains(text: bytes | str) -> None:
    found: object = None
    try:
        found = load_text(text).value
    except DocumentError as error:
        found = [problem.message for problem in problems_of(error)]
        if not found:
            pytest.fail("an error without a problem")
    json.dumps(found, allow_nan=False)


def test_every_duplicate_key_is_listed_with_the_line_of_the_first() -> None:
    assert places(problems("a: 1\nb: {c: 1, c: 2}\na: 3\nx: 4\na: 5\n")) == [
        (2, 11, "key 'c' is there twice; the first is in line 2"),
        (3, 1, "key 'a' is there twice; the first is in line 1"),
        (5, 1, "key 'a' is there twice; the first is in line 1"),
    ]


def test_a_duplicate_key_is_found_in_json_of_any_size() -> None:
    for filling in ("x", "x" * 2 * LARGE_JSON_BYTES):
        text = json.dumps({"filling": filling, "a": {"b": 1, "c": [{"d": 1}]}}, indent=1)
        text = text.replace('"d": 1', '"d": 1, "d": 2')
        (problem,) = problems(text)
        assert (problem.line, problem.message) == (7, "key 'd' is there twice; the first is in line 7")
        assert problem.path == ("a", "c", 0, "d")


def test_who_checks_the_value_too_gets_both() -> None:
    text = "a: {x: 1}\nb: 2\na: {y: 2}\n"
    document = load_text(text, lenient=True)
    assert document.value == {"a": {"y": 2}, "b": 2}
    assert [one.message for one in document.problems] == ["key 'a' is there twice; the first is in line 1"]
    assert document.places([("a", "y")])["a", "y"].line == 3
    assert load_text("a: 1", lenient=True).problems == ()
    with pytest.raises(DocumentError):
        load_text("a: [", lenient=True)


def test_duplicate_keys_in_json() -> None:
    [problem] = problems('{"a": 1,\n "b": 2, "a": 3}', name="x.json")
    assert (problem.line, problem.column, problem.path) == (2, 10, ("a",))


def laughs(depth: int, width: int = 9) -> str:
    lines = ["a0: &a0 [" + ",".join(["lol"] * width) + "]"]
    lines += [f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * width) + "]" for n in range(1, depth)]
    return "\n".join(lines)


def merges(depth: int) -> str:
    return "m0: &m0 {k0: 1}\n" + "\n".join(
        f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}], k{n}: 1}}" for n in range(1, depth)
    )


BOMBS = {
    "a billion laughs": (laughs(9), "aliases counted as what they stand for"),
    "merging doubles": (merges(30), "aliases counted as what they stand for"),
    "an alias of itself": ("a: &a [*a]", "refers to nothing that is complete before it"),
    "an alias of nothing": ("a: *b", "refers to nothing"),
    "deep brackets": ("[" * 100_000, "nested deeper than 64"),
    "deep braces": ("{a: " * 100_000, "nested deeper than 64"),
    "deep dashes": ("- " * 5_000, "nested deeper than 64"),
    "deep by aliases": (
        "\n".join(["a0: &a0 [1]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 80)]),
        "deeper than 64",
    ),
    "many aliases": ("a: &a 1\nb: [" + ",".join(["*a"] * 1001) + "]", "more than 1000 aliases"),
    "a python object": ("a: !!python/object/apply:os.system ['id']", "tag '!!python/object/apply:os.system'"),
    "a tag of its own": ("a: !ref b", "tag '!ref' has no meaning"),
    "two documents": ("a: 1\n---\nb: 2", "a second document begins here"),
    "a list as key": ("? [a]\n: 1", "a key must be a text"),
    "an alias as key": ("a: &a {x: 1}\n? *a\n: 1", "a key must be a text"),
    "merging a text": ("a: {<<: x}", "'<<' needs a map"),
    "merging nothing": ("a: {<<: }", "'<<' needs a map"),
    "a control character": ("a: \x01", "the character U+0001 cannot stand in YAML"),
    "a tab": ("a:\n\tb: 1", "a tab cannot indent; use spaces"),
    "a tab after spaces": ("a:\n  b: 1\n  \tc: 1", "a tab cannot indent; use spaces"),
    "an at sign": ("a: @b", "a text that begins with @ needs quotes"),
    "a colon too many": ("a: b: c", "':' is not expected here"),
    "an open quote": ("a: 'x", "not YAML"),
    "an open bracket": ("a: [1, 2", "not YAML"),
    "half a surrogate": ("a: \ud800", "not UTF-8"),
}


@pytest.mark.parametrize(("text", "message"), BOMBS.values(), ids=BOMBS.keys())
def test_bombs_do_not_go_off(text: str, message: str) -> None:
    assert any(message in problem.message for problem in problems(text))


def test_what_stops_yaml_has_a_place_where_the_mistake_is() -> None:
    unquoted = "not YAML: a reference within { } or [ ] needs quotes around its text"
    assert places(problems("a: 1\nb: {c: ${d.e}}")) == [(2, 8, unquoted)]
    assert places(problems("a: 1\nb: [c, see ${d.e}]")) == [(2, 12, unquoted)]
    assert places(problems("b: [“${d.e}”]")) == [(1, 6, f"{unquoted}, and “ is none")]
    assert places(problems("a: 'x\nb: 1\n")) == [(1, 4, "not YAML: the text that begins here has no closing quote")]
    assert [found[:2] for found in places(problems("a: 1\nb: x\x00"))] == [(2, 5)]
    assert "a text that begins with {{ needs quotes" in problems("a: {{ b.c }}")[0].message


def test_too_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gleitzeit.spec.loading.build.LIMIT_NODES", 100)
    assert load_text("[" + "1," * 90 + "1]").value
    assert "more than 100 values" in problems("[" + "1," * 100 + "1]", name="x.yaml")[0].message


def test_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "LIMIT_YAML_BYTES", 100)
    monkeypatch.setattr(load_module, "LIMIT_JSON_BYTES", 200)
    assert "YAML may have" in problems("a: " + "x" * 120)[0].message
    assert "larger than 200" in problems("a: " + "x" * 220)[0].message
    assert load_text('{"a": "' + "x" * 120 + '"}').value


def test_bad_bytes_are_said_to_be_no_text() -> None:
    assert places(problems("a: ä\nb: é: ".encode() + b"\xff\xfe")) == [(2, 7, "not UTF-8 text: the byte 0xff")]
    assert places(problems(b"\xef\xbb\xbfa: \xe9")) == [(1, 4, "not UTF-8 text: the byte 0xe9")]
    told = [(1, 1, "not UTF-8 text: it is UTF-16; save it as UTF-8")]
    assert places(problems("a: 1".encode("utf-16-le"))) != told == places(problems("a: ä".encode("utf-16")))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("NaN", "NaN and Infinity are none"),
        ("-Infinity", "NaN and Infinity are none"),
        ('"\\ud83d"', "half a surrogate pair"),
        ('"\\ude00"', "half a surrogate pair"),
        ("-1e400", "a number that is too large"),
        ("9" * 5_000, "a number that is too large"),
    ],
)
def test_what_json_cannot_say_has_its_place(value: str, words: str) -> None:
    [found] = problems(f'{{"ä": ["\\ud83d\\ude00", 1e3],\n "b": {value}}}', name="x.json")
    assert words in found.message
    assert found.line == 2
    assert found.column in range(7, 7 + len(value) + 1)


def test_a_byte_order_mark_is_no_matter() -> None:
    assert load_text(b"\xef\xbb\xbfa: 1").value == load_text("\ufeffa: 1").value == {"a": 1}


def test_json_errors_have_a_place() -> None:
    assert places(problems('{"a": 1,\n "b": }', name="x.json")) == [
        (2, 7, "not JSON: a value is expected here; texts need double quotes, and nothing follows the last comma")
    ]
    assert problems('{"a": NaN}', name="x.json")[0].line == 1
    assert "not JSON" in problems("[" * 100_000, name="x.json")[0].message
    assert "nested deeper than 64" in problems("[" * 100 + "]" * 100, name="x.json")[0].message


def test_yaml_may_begin_like_json() -> None:
    assert load_text("{a: 1, b: [x]}").value == {"a": 1, "b": ["x"]}
    assert load_text("[a, b]").value == ["a", "b"]


def test_an_empty_document_is_null() -> None:
    assert load_text("").value is None
    assert load_text("# nothing\n").value is None
    assert load_text(" \n", name="x.json").value is None


def test_places_of_large_json() -> None:
    document = load_text('{"a": 2, "b": "' + "x" * 300_000 + '"}', name="x.json")
    assert document.places([("b",)])[("b",)].column == 15


def test_places_of_yaml() -> None:
    document = load_text("tasks:\n  - id: a\n    params: {x: [1, 2]}\n  - code: |\n      one\n      two\nlast: 'x'\n")
    found = document.places([("tasks", 0, "params", "x", 1), ("tasks", 1, "code"), ("last",), ("tasks", 0)])
    spot = {path: (place.line, place.column, place.key_line, place.key_column) for path, place in found.items()}
    assert spot[("tasks", 0, "params", "x", 1)] == (3, 21, 3, 21)
    assert spot[("tasks", 0)] == (2, 5, 2, 5)
    assert spot[("tasks", 1, "code")] == (4, 11, 4, 5)
    assert spot[("last",)] == (7, 7, 7, 1)
    assert found[("tasks", 1, "code")].literal


def test_the_place_of_what_is_merged_is_that_of_the_merge() -> None:
    document = load_text("base: &b {x: 1, y: {z: 2}}\na:\n  own: 1\n  <<: *b\n  y: 3\n")
    found = document.places([("a", "x"), ("a", "y"), ("a", "own")])
    lines = {path[-1]: place.line for path, place in found.items() if len(path) == 2}
    assert lines == {"own": 3, "x": 4, "y": 5}


def test_places_of_json() -> None:
    document = load_text('{"tasks": [\r\n  {"id": "a",\n   "x": {"y": null}}]}', name="x.json")
    found = document.places([("tasks", 0, "x", "y"), ("tasks", 0, "id")])
    assert (found[("tasks", 0, "x", "y")].line, found[("tasks", 0, "x", "y")].column) == (3, 15)
    assert (found[("tasks", 0, "id")].line, found[("tasks", 0, "id")].column) == (2, 10)


def test_the_place_of_what_is_not_there_is_that_of_the_nearest_above() -> None:
    document = load_text("a:\n  b: {c: 1}\n")
    assert document.places([("a", "b", "d", "e")])[("a", "b", "d", "e")].line == 2
    assert document.places([("zzz",)])[("zzz",)].line == 1


@given(json_values, st.data())
def test_every_path_of_a_document_has_its_place(value: Any, data: st.DataObject) -> None:
    document = load_text(json.dumps({"top": value}, indent=1, ensure_ascii=False), name="x.json")
    path: tuple[str | int, ...] = ("top",)
    inner = value
    while isinstance(inner, dict | list) and inner:
        step = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        path, inner = (*path, step), inner[step]
    place = document.places([path])[path]
    line = document.lines[place.line - 1]
    assert line[place.column - 1 :].startswith(json.dumps(inner, ensure_ascii=False)[:1])


def test_objects_become_plain_values() -> None:
    assert load_object({"a": (1, 2), "b": {3: "x"}}).value == {"a": [1, 2], "b": {"3": "x"}}
    assert load_object({"a": 1}).places([("a",)]) == {}


def test_objects_that_json_cannot_hold() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    for value in ({"a": object()}, loop, {"a": "\ud800"}):
        with pytest.raises(DocumentError):
            load_object(value)
    with pytest.raises(DocumentError, match=r"a\[1\]\.b: neither NaN nor an infinite"):
        load_object({"n": None, "a": [None, {"b": float("-inf")}]})


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text("a: 1\na: 2\n")
    with pytest.raises(DocumentError, match=r"flow\.yaml:2:1: key 'a' is there twice"):
        load_file(path)
    path.write_text("a: 1\n")
    assert load_file(str(path)).value == {"a": 1}
    assert load_file(path).name == str(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="cannot be read: No such file"):
        load_file(tmp_path / "missing.yaml")


def test_a_text_that_could_not_be_loaded_has_no_places_but_lines() -> None:
    document = Document("x", "a: [\n\ud800", None)
    assert document.places([("a",)]) == {}
    assert document.lines == ["a: [", "\ud800"]
