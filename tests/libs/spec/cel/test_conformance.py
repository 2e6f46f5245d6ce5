"""Our reading of CEL beside that of another implementation: where both give a value it is the same one, and where only
one of them does, it is for one of the differences that `gleitzeit.spec.cel` names."""

import math
from typing import Any

import cel as other
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.libs.spec.resolving import resolver

from gleitzeit.errors import ParameterError
from gleitzeit.spec.cel.evaluation import Evaluation
from gleitzeit.spec.cel.parser import parse_expression

VALUES: dict[str, Any] = {
    "i": 3,
    "j": -7,
    "d": 2.5,
    "s": "blue sky",
    "t": True,
    "n": None,
    "l": [3, 1, 2],
    "m": {"a": 1, "b": {"c": "x"}, "list": [{"age": 30}, {"age": 7}]},
}

whole = st.sampled_from(["i", "j", "m.a", "l[0]", "size(l)", "size(s)", "0", "1", "12", "m.list[1].age", "-4"])
fraction = st.sampled_from(["d", "0.5", "2.0", "1.5e2", "-0.25", "double(i)"])
text = st.sampled_from(["s", '"a"', "'blue'", "m.b.c", 'm["b"].c', '"é\\n"', 'r"\\d"', "string(i)", '""'])
moments = st.sampled_from(
    [f'timestamp("{at}")' for at in ("2026-03-29T01:30:00Z", "2026-03-28T23:59:59.250Z", "1969-12-31T22:00:00Z")]
)
lengths = st.sampled_from(["1h", "90s", "1h30m", "-5m", "250ms", "36h"]).map('duration("{}")'.format)
times = moments | st.tuples(moments, st.sampled_from("+-"), lengths).map("({0[0]} {0[1]} {0[2]})".format)
parts = st.sampled_from(
    ["FullYear", "Month", "Date", "DayOfMonth", "DayOfYear", "DayOfWeek", "Hours", "Minutes", "Seconds", "Milliseconds"]
)
of_times = st.tuples(times, parts).map("({0[0]}).get{0[1]}()".format) | st.tuples(
    lengths, st.sampled_from(["Hours", "Minutes", "Seconds"])
).map("{0[0]}.get{0[1]}()".format)
lists = st.sampled_from(["l", "[1, 2]", "[]", "l + [4]", "l.map(x, x * 2)", "l.filter(x, x > 1)", "[i, j]"])


def _numbers(leaf: st.SearchStrategy[str], operators: str) -> st.SearchStrategy[str]:
    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        binary = st.tuples(inner, st.sampled_from(list(operators)), inner).map(" ".join)
        return (
            binary | inner.map("({})".format) | st.tuples(truths, inner, inner).map("({0[0]} ? {0[1]} : {0[2]})".format)
        )

    return st.recursive(leaf, larger, max_leaves=5)


comparisons = ["==", "!=", "<", "<=", ">", ">="]
simple_truths = (
    st.sampled_from(["t", "true", "false", "has(m.a)", "has(m.zzz)", "n == null", "i == null", "l.exists(x, x > 2)"])
    | st.tuples(whole, st.sampled_from(comparisons), whole).map(" ".join)
    | st.tuples(fraction, st.sampled_from(comparisons), fraction).map(" ".join)
    | st.tuples(text, st.sampled_from(comparisons), text).map(" ".join)
    | st.tuples(lists, st.sampled_from(["==", "!="]), lists).map(" ".join)
    | st.tuples(times, st.sampled_from(comparisons), times).map(" ".join)
    | st.tuples(times, times, st.sampled_from(comparisons), lengths).map("{0[0]} - {0[1]} {0[2]} {0[3]}".format)
    | st.tuples(whole, lists).map(" in ".join)
    | st.tuples(text, st.sampled_from(["startsWith", "endsWith", "contains"]), text).map("{0[0]}.{0[1]}({0[2]})".format)
    | lists.map("{}.all(x, x > 0)".format)
    | lists.map("{}.exists_one(x, x == 1)".format)
    | st.sampled_from(['s.matches("^b.*y$")', '"k" in m', '"a" in m', "m.zzz == 1", "1 / 0 == 1", "l[9] == 1"])
)
truths = st.recursive(
    simple_truths,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map("({0[0]} {0[1]} {0[2]})".format)
        | inner.map("!({})".format)
        | st.tuples(inner, inner, inner).map("({0[0]} ? {0[1]} : {0[2]})".format)
    ),
    max_leaves=5,
)
expressions = (
    truths
    | _numbers(whole, "+-*/%")
    | _numbers(fraction, "+-*/")
    | st.tuples(text, text).map(" + ".join)
    | lists
    | times
    | of_times
    | st.tuples(lists, lists).map(" + ".join)
    | st.sampled_from(['{"a": i, "b": [d]}', "[l, [s]]", "int(d)", 'int("12")', "string(d)"])
)


resolve = resolver(VALUES)


def ours(expression: str) -> tuple[bool, Any]:
    try:
        return True, Evaluation(expression, resolve).value(parse_expression(expression))
    except ParameterError:
        return False, None


def theirs(expression: str) -> tuple[bool, Any]:
    try:
        return True, other.evaluate(expression, VALUES)
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError, ZeroDivisionError, OverflowError):
        return False, None


def alike(one: Any, another: Any) -> bool:
    if isinstance(one, float) and isinstance(another, float):
        return math.isclose(one, another, rel_tol=1e-12, abs_tol=1e-12)
    if isinstance(one, list) and isinstance(another, list):
        return len(one) == len(another) and all(map(alike, one, another))
    return type(one) is type(another) and bool(one == another)


@settings(max_examples=300)
@given(expressions)
def test_both_give_the_same(expression: str) -> None:
    (we_do, our_value), (they_do, their_value) = ours(expression), theirs(expression)
    assert we_do == they_do, f"{expression}: {our_value!r} here, {their_value!r} there"
    assert not we_do or alike(our_value, their_value), f"{expression}: {our_value!r} here, {their_value!r} there"
