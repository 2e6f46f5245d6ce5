import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.libs.spec.resolving import resolver

from gleitzeit.errors import ParameterError
from gleitzeit.spec.references.expressions import Unreadable, evaluate, holds, normal, odd_names, read

VALUES: dict[str, Any] = {
    "check": {"score": 0.9, "count": 3, "name": "blue", "none": None, "list": [1, 2, 3], "people": [{"age": 30}]},
    "first-check": {"x": 4},
    "Load Data": {"x": 5},
}
ODD = odd_names(VALUES)
resolve = resolver(VALUES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("check.score > 0.8", True),
        ("${check.score > 0.8}", True),
        ("${check.score} > 0.8 && ${check.count} == 3", True),
        ("${{ check.score > 0.8 && check.count == 3 }}", True),
        ("${{ check.count }} + ${{'a': check.count}['a']}", 6),
        ("{{ check.score > 1 or not check.count == 4 }}", True),
        ("check.count * 1.5", 4.5),
        ("check.count / 2", 1),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("7.5 % 2", 1.5),
        ("1 < 2.5 && 1 == 1.0", True),
        ("1 == true", False),
        ("check.count - 1", 2),
        ("first-check.x - 1", 3),
        ("${Load Data.x} + 1", 6),
        ('check.nothing || "default"', "default"),
        ('check.none || check.name || "x"', "blue"),
        ("check.none || null", None),
        ("check.list[0] + check.list.1", 3),
        ("check.list[check.list[0]]", 2),
        ("check.people[check.count - 3].age", 30),
        ("check['name'] + '!'", "blue!"),
        ("'${check.name} and ${check.count}'", "blue and 3"),
        ("check.list.map(x, x > 1, x * 2)", [4, 6]),
        ("check.people.exists(one, one.age >= 30)", True),
        ("check.list.all(x, x > 1)", False),
        ("check.list.exists_one(x, x == 2)", True),
        ("check.list.filter(x, x != 2)", [1, 3]),
        ("check.people.map(score, score.age)", [30]),
        ("has(check.nothing)", False),
        ("has(check.name)", True),
        ("2 in check.list && 'name' in check && 'lu' in check.name && 7 not in check.list", True),
        ("check.name.matches('^b.+e$') ? size(check.name) : 0", 4),
        ("{'a': [1, {'b': 2}]}['a'][1].b", 2),
        ("string(2.0) + string(true) + string(check.list)", "2true[1,2,3]"),
        ("int('12') + int(2.9) + double('0.5')", 14.5),
        ("'a,b'.split(',').join('-').upperAscii()", "A-B"),
        ("math.greatest(1, 2.5) + math.least(check.list)", 3.5),
        ("'it''s'.size()", None),
        ("r'\\d' == '\\\\d' && \"\\u0041\" == 'A'", True),
        ("0x10 + 3u", 19),
        ("timestamp('2026-03-01T12:00:00Z') + duration('1h30m')", "2026-03-01T13:30:00Z"),
        ("timestamp('2026-03-01') - timestamp('2026-02-28T12:00:00+01:00')", "46800s"),
        ("[duration('34h17m36.789s'), duration('-1h')]", ["123456.789s", "-3600s"]),
        ("[duration('1.5s'), timestamp(1.25)]", ["1.5s", "1970-01-01T00:00:01.250Z"]),
        ("string(duration('1h')) + string([timestamp(0)])", '3600s["1970-01-01T00:00:00Z"]'),
        ("[timestamp('2026-03-29T00:30:00Z').getHours('Europe/Berlin'), timestamp(0).getDate('-01:00')]", [1, 31]),
        ("int(timestamp('1970-01-02'))", 86400),
        ("[check.people[0], 3].map(x, has(x.age))", [True, False]),
        ("true ? 1 : 2 // what follows is a comment", 1),
    ],
)
def test_what_an_expression_gives(text: str, value: object) -> None:
    if value is None and "''" in text:
        with pytest.raises(Unreadable):
            read(text)
        return
    found = evaluate(text, resolve, ODD)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "standing"),
    [
        ("check.score > 0.8", "${check.score} > 0.8"),
        ("{{ inputs.a.valid and inputs.b }}", "( ${inputs.a.valid} and ${inputs.b} )"),
        ("${check.result.score > 0.8}", "(${check.result.score} > 0.8)"),
        ("${{ check.score > 0.8 }} && ${{ a.b }}", "( ${check.score} > 0.8 ) && ${a.b}"),
        ("${{'a': b.c}.a > 1}", "({'a': ${b.c}}.a > 1)"),
        ("first-check.x > 1", "${first-check.x} > 1"),
        ("a[0]['b c'].size() > 1", '${a[0]["b c"]}.size() > 1'),
        ("'${a.b}' == 'x'", "'${a.b}' == 'x'"),
        ("${a}.exists(x, x.y == z.y)", "${a}.exists(x, x.y == ${z.y})"),
    ],
)
def test_the_normal_form_has_every_reference_in_braces(text: str, standing: str) -> None:
    assert normal(text, ODD) == standing
    assert normal(standing) == standing


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        ("check.score = 1", "'=' compares nothing: write '=='", 12),
        ("a & b", "'&' is written '&&'", 2),
        ("a b", "'b' is not expected here; an operator is missing before it", 2),
        ("a >", "the expression ends too early", 3),
        ("(a", "the expression ends too early", 2),
        ("'a", "this text has no closing quote", 0),
        ("a.quux(1)", "there is no function 'quux'", 2),
        ("a.b > len(c)", "there is no function 'len' (did you mean 'size'?)", 6),
        ("a.startWith('b')", "there is no function 'startWith' (did you mean 'startsWith'?)", 2),
        ("a is not None", "'is' has no meaning: compare with '== null', or ask 'has(task.field)'", 2),
        ("${{ a.b }", "'${' is not closed by '}'", 0),
        ("${a.b", "'${' is not closed by '}'", 0),
        ("check.name == “x”", "'“' has no meaning here; the quotes of a text are \" or '", 14),
        ("a @ b", "'@' has no meaning here", 2),
        ("", "an expression is missing", 0),
        ("9999999999999999999", "9999999999999999999 has more than 64 bits", 0),
        ("(" * 60 + "1" + ")" * 60, "nested deeper than 40", 40),
        ("!" * 3000 + "a", "nested deeper than 40", 39),
        (" + ".join(["1"] * 500), "more than 120 operators depend on each other", 0),
        ("1" * 5000, "an expression of 5000 characters; 4000 are allowed", 0),
    ],
)
def test_what_cannot_be_read_says_where(text: str, message: str, offset: int) -> None:
    with pytest.raises(Unreadable) as caught:
        read(text)
    assert (caught.value.message, caught.value.offset) == (message, offset)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("check.none > 1", "'check.none > 1': '>' is not for null and a number"),
        ("check.name + 1", "'check.name + 1': '+' is not for a text and a number; string(…) makes a text of a number"),
        ("check.count && true", "'check.count' is a number, not true or false"),
        ("1 / 0", "division by 0"),
        ("9223372036854775807 + 1", "more than 64 bits"),
        ("1.5e308 * 10", "too large"),
        ("check.list[9]", "check.list[9] is missing"),
        ("check.list.map(x, x.y)", "'x.y': a number has no 'y'"),
        ("check.people.map(x, x.y)", "there is no 'y' (there are: age)"),
        ("'a'.matches('(')", "'(' is no regular expression"),
        (f"'a'.matches('{'a' * 501}')", "a pattern of 501 characters; 500 are allowed"),
        ("int('x')", "int(): not for a text"),
        ("timestamp(1e300)", "timestamp(): not for a number"),
        ("timestamp('soon')", "'soon' is no time like '2026-03-01T12:00:00Z'"),
        ("timestamp('2026-03-01') + 3", "'+' is not for a time and a number"),
        ("timestamp('9999-12-31') + duration('40d')", "there is no such time"),
        ("timestamp(0).getHours('Moon/Base')", "'Moon/Base' is no time zone like"),
        ("duration('1h') < timestamp(0)", "'<' is not for a length of time and a time"),
        ("size(1, 2)", "size() does not take 2 values"),
    ],
)
def test_what_cannot_be_computed_says_why(text: str, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        evaluate(text, resolve, ODD)
    assert message in caught.value.message


def test_a_condition_is_true_or_false_and_null_is_false() -> None:
    assert holds("${check.count} > 2", resolve)
    assert not holds("${check.none}", resolve)
    assert holds("${check.nothing} == 1 || ${check.count} == 3", resolve), "as in CEL, one part decides"
    assert not holds("${check.count} == 1 && ${check.nothing}", resolve)
    with pytest.raises(ParameterError, match="is a text, not true or false"):
        holds("${check.name}", resolve)


def test_what_an_evaluation_costs_is_bounded() -> None:
    costly = {
        "${m}.all(a, ${m}.all(b, ${m}.all(c, a + b + c >= 0)))": list(range(1000)),
        "${m}.map(a, ${m}.map(b, ${m}))": list(range(1000)),
        "${m}.map(a, ${m}.map(b, {'a': ${m}}))": list(range(250)),
        "${m}.map(x, " * 6 + "'a'" + ")" * 6: list(range(100)),
        "${m}.replace('', ${m})": "x" * 100_000,
        "${m}.matches('(a+)+$')": "a" * 200_000 + "b",
        "${m}.exists(x, x.y == 1)": list(range(90_000)),
    }
    for text, value in costly.items():
        began = time.process_time()
        with contextlib.suppress(ParameterError):
            evaluate(text, lambda _, value=value: value)  # type: ignore[misc]
        assert time.process_time() - began < 2, text


def test_what_goes_through_much_of_a_text_costs_more_steps() -> None:
    with pytest.raises(ParameterError, match="takes more than 100,000 steps"):
        evaluate("[1, 2, 3, 4, 5, 6].map(n, size(${m}))", lambda _: "x" * 2_000_000)


PIECES = ["a", ".", "b", "(", ")", "[", "]", "${", "}", "{{", "}}", "1", "'x'", "&&", "||", "!", "-", "?", ":", "in"]


@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES)).map(" ".join))
@settings(max_examples=300)
def test_any_text_is_an_expression_or_says_where_it_is_not(text: str) -> None:
    offset, standing = 0, None
    try:
        standing = normal(text)
    except Unreadable as error:
        offset = error.offset
    assert 0 <= offset <= len(text)
    assert standing is None or normal(standing) == standing


numbers = st.integers(-100, 100) | st.floats(-100, 100).map(lambda n: round(n, 3))


@given(numbers, numbers, st.sampled_from(["+", "-", "*", "<", "<=", ">", ">=", "==", "!="]))
def test_numbers_mix_as_in_arithmetic(left: float, right: float, operator: str) -> None:
    expected = eval(f"({left!r}) {operator} ({right!r})")
    assert evaluate(f"({left!r}) {operator} ({right!r})", resolve) == expected
