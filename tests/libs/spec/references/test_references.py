import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.errors import ParameterError
from gleitzeit.spec.references.references import (
    AS_WRITTEN,
    Reference,
    as_text,
    escape,
    parse,
    reads_as_itself,
    substitute,
    texts_in,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# Texts made of the pieces that have a meaning here: what random text would never hit.
tricky = st.lists(
    st.sampled_from(["$", "{", "}", "{{", "}}", "${", "$${", '"', ".", "a", "a.b", "[0]", " ", "\n", ":-"])
).map("".join)
texts = st.text() | tricky


def only(text: str) -> Reference:
    [part] = parse(text)
    assert isinstance(part, Reference)
    return part


@pytest.mark.parametrize(
    ("text", "base", "path"),
    [
        ("${task}", "task", ()),
        ("${task.field}", "task", ("field",)),
        ("${task.a.b}", "task", ("a", "b")),
        ("${ task.a }", "task", ("a",)),
        ("${task.items[0].name}", "task", ("items", "0", "name")),
        ("${t.results.0.x}", "t", ("results", "0", "x")),
        ("${Load Data.result}", "Load Data", ("result",)),
        ("${first-echo.result.response}", "first-echo", ("result", "response")),
        ("${task[2]}", "task", ("2",)),
        ('${task["a.b"].c}', "task", ("a.b", "c")),
        ("${task['a b']}", "task", ("a b",)),
        ("${process-a->txt-1.result}", "process-a->txt-1", ("result",)),
        ("${größe.länge}", "größe", ("länge",)),
        ("${{ task.a }}", "task", ("a",)),
        ("{{ task.a }}", "task", ("a",)),
        ("{{task.a[0]}}", "task", ("a", "0")),
        ("{{ inputs.task.field }}", "inputs", ("task", "field")),
    ],
)
def test_forms(text: str, base: str, path: tuple[str, ...]) -> None:
    reference = only(text)
    assert (reference.base, reference.path, reference.source) == (base, path, text)
    assert reference.mustache == text.startswith("{{")


@pytest.mark.parametrize(
    ("text", "name", "default"),
    [
        ("${env.HOME}", "HOME", None),
        ("${VAR:-some default}", "VAR", "some default"),
        ("${API_TOKEN:default}", "API_TOKEN", "default"),
        ("${env.VAR:-x}", "VAR", "x"),
        ("${VAR:-}", "VAR", ""),
        ("${URL:-http://localhost:1/a.b}", "URL", "http://localhost:1/a.b"),
    ],
)
def test_environment_variables(text: str, name: str, default: str | None) -> None:
    reference = only(text)
    assert (reference.base, reference.path, reference.default) == ("env", (name,), default)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("$${task.a}", "${task.a}"),
        ("$$${a}", "$${a}"),
        ('${"{{"} a.b }}', "{{ a.b }}"),
        (r'${"a \"quoted\" } brace"}', 'a "quoted" } brace'),
        ('${ "x" }', "x"),
        ("{{x}}", "{{x}}"),
        ("{{ not a reference! }}", "{{ not a reference! }}"),
        ("{{ a.b", "{{ a.b"),
        ("costs 5$ {today}", "costs 5$ {today}"),
    ],
)
def test_plain_text(text: str, plain: str) -> None:
    assert parse(text) == (plain,)


def test_several_in_one_text() -> None:
    assert [part if isinstance(part, str) else part.text for part in parse("a ${b.c}${d} $${e} f")] == [
        "a ",
        "b.c",
        "d",
        " ${e} f",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${task.a", "not closed"),
        ("a ${task\n.a}", "not closed"),
        ("${}", "names nothing"),
        ("${ .a}", "names nothing"),
        ("${a..b}", "is not a reference like"),
        ("${a.}", "is not a reference like"),
        ("${a[-1]}", "is not a reference like"),
        ("${a[0}", "is not a reference like"),
        ("${" + "a" * 1001 + "}", "1001 characters"),
        (r'${"\x"}', "not a JSON string"),
    ],
)
def test_broken_ones_say_why(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parse(text)


def test_a_broken_one_says_how_to_write_it_as_text() -> None:
    with pytest.raises(ParameterError) as caught:
        parse("${a..b}")
    assert "'$${a..b}'" in caught.value.message


@pytest.mark.parametrize(
    "text", ["check.result.score > 0.8", 'a.response || "}"', "a.count * 2", "not a.b", "-a", "a[b.c].d"]
)
def test_an_expression_is_one_reference(text: str) -> None:
    (found,) = parse(f"${{{text}}}")
    assert isinstance(found, Reference)
    assert found.is_expression
    assert found.text == text


@given(texts)
def test_parsing_ends_in_parts_or_a_parameter_error(text: str) -> None:
    try:
        parts = parse(text)
    except ParameterError:
        return
    assert all(part != "" for part in parts)
    plain = [isinstance(part, str) for part in parts]
    assert not any(a and b for a, b in itertools.pairwise(plain)), "plain pieces touch"


@given(texts)
def test_an_escaped_text_reads_as_itself(text: str) -> None:
    assert parse(escape(text)) == ((text,) if text else ())
    assert substitute(escape(text), lambda _: pytest.fail("there was nothing to resolve")) == text


@given(texts)
def test_what_reads_as_itself_is_not_changed_by_escaping(text: str) -> None:
    assert (escape(text) == text) == reads_as_itself(text)


@given(json_values)
def test_a_whole_text_keeps_the_type(value: Any) -> None:
    assert substitute("${a.b}", lambda _: value) is value
    assert substitute({"x": ["${a.b}"]}, lambda _: value) == {"x": [value]}


@given(json_values, texts, texts)
def test_inside_a_longer_text_a_value_becomes_text(value: Any, before: str, after: str) -> None:
    text = f"{escape(before + '|')}${{a.b}}{escape('|' + after)}"
    expected = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    assert substitute(text, lambda _: value) == f"{before}|{expected}|{after}"


@given(texts, st.booleans())
def test_replacing_is_done_once(evil: str, whole: bool) -> None:
    """Whatever a result says, it is never read for references."""
    asked = []

    def resolve(reference: Reference) -> object:
        asked.append(reference.text)
        return evil

    assert substitute("${a.b}" if whole else "<${a.b}>", resolve) == (evil if whole else f"<{evil}>")
    assert asked == ["a.b"]


@given(json_values)
def test_values_without_references_pass_through(value: Any) -> None:
    def without_places(inner: Any) -> bool:
        return "${" not in str(inner) and "{{" not in str(inner)

    if without_places(value):
        assert substitute(value, lambda _: pytest.fail("nothing to resolve")) == value


def test_a_mustache_that_names_nothing_stays() -> None:
    assert substitute("a {{ b.c }} d", lambda _: AS_WRITTEN) == "a {{ b.c }} d"
    assert substitute("{{ b.c }}", lambda _: AS_WRITTEN) == "{{ b.c }}"


def test_keys_are_left_alone_and_the_given_value_is_not_changed() -> None:
    given_value = {"${a.b}": ["${a.b}"]}
    assert substitute(given_value, lambda _: 1) == {"${a.b}": [1]}
    assert given_value == {"${a.b}": ["${a.b}"]}


@pytest.mark.parametrize(
    ("value", "text"),
    [("é", "é"), (1, "1"), (1.5, "1.5"), (True, "true"), (None, "null"), ([1, {"a": "é"}], '[1,{"a":"é"}]')],
)
def test_values_as_text(value: object, text: str) -> None:
    assert as_text(value) == text


def test_texts_are_listed_in_order_without_keys() -> None:
    value = {"z": "1", "a": ["2", {"k": "3"}], "n": 3}
    assert list(texts_in(value)) == ["1", "2", "3"]


def test_listing_needs_no_call_stack() -> None:
    value: Any = "${a.b}"
    for _ in range(100_000):
        value = [value]
    assert list(texts_in(value)) == ["${a.b}"]


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("${a.map(p, {'n': p.n})}", "a.map(p, {'n': p.n})"),
        ("<${a == {'x': '}'}}>", "a == {'x': '}'}"),
        ("${ {'a': b.c, \"}\": {1}} }", None),
        ("${a${b}}", None),
        ("${a}}", "a"),
    ],
)
def test_a_map_may_stand_in_an_expression(text: str, inner: str | None) -> None:
    if inner is None:
        with pytest.raises(ParameterError, match="is not closed"):
            parse(text)
    else:
        assert [part.text for part in parse(text) if isinstance(part, Reference)] == [inner]
