"""Conditions and computed values: CEL with references in it. One language, three spellings:

    when: "${check.result.score > 0.8}"            the operator inside the braces
    when: "${a.x} > 0.8 && ${b.y}"                 outside
    when: check.result.score > 0.8                 without; also `{{ inputs.a.valid and inputs.b.passed }}`

Within any value `${a.count * 2}` is the number, and `||` gives a default: `${a.response || "none"}`.

What a checked definition holds (the *normal form*) has every reference in `${…}`, and nothing else in them.
"""

from collections.abc import Collection, Iterator
from typing import Any, Final

from gleitzeit.errors import ParameterError
from gleitzeit.schemas import near
from gleitzeit.spec import foreign
from gleitzeit.spec.cel import times, tree
from gleitzeit.spec.cel.evaluation import Evaluation, Resolve
from gleitzeit.spec.cel.functions import FUNCTIONS
from gleitzeit.spec.cel.parser import parse_expression
from gleitzeit.spec.cel.tree import Unreadable
from gleitzeit.spec.references.references import Part, Reference, parse

LONGEST_RESULT: Final = 1 << 20
"""Characters, about, as JSON."""

__all__ = ["Resolve", "Unreadable", "evaluate", "holds", "normal", "odd_names", "read", "references_in"]


def odd_names(names: Collection[str]) -> frozenset[str]:
    """Those that CEL would not read as one word, as `first-check` and `prüfung`."""
    return frozenset(name for name in names if not name.isascii() or not name.replace(".", "_").isidentifier())


def read(text: str, names: Collection[str] = ()) -> tuple[Reference, ...]:
    """The references of an expression. `names` are the odd ones. Raises Unreadable for what is none, and for
    functions that do not exist."""
    found = []
    for node in tree.nodes(parse_expression(text, names)):
        if isinstance(node, tree.Chain):
            found.append((node.start, node.reference))
        elif isinstance(node, tree.Call) and node.name not in FUNCTIONS:
            raise Unreadable(_no_function(node.name), text.find(node.name, node.start, node.end))
    return tuple(reference for _, reference in sorted(found, key=lambda one: one[0]))


def dispensable(text: str, names: Collection[str] = (), *, is_value: bool = True) -> frozenset[Reference]:
    """The references that may stand for nothing: what is asked for by `has`, and in a value's expression what has a
    default behind `||`. Raises Unreadable."""
    found: set[Reference] = set()
    for node in tree.nodes(parse_expression(text, names)):
        optional: tuple[tree.Node, ...] = ()
        if isinstance(node, tree.Has):
            optional = (node.of,)
        elif is_value and isinstance(node, tree.Logic) and node.operator == "||":
            optional = node.operands[:-1]
        for operand in optional:
            found |= {below.reference for below in tree.nodes(operand) if isinstance(below, tree.Chain)}
    return frozenset(found)


def _no_function(name: str) -> str:
    known = [*FUNCTIONS, *tree.MACROS, "has"]
    meant = foreign.FUNCTIONS.get(name) or near(name, known)
    hint = f" (did you mean '{meant}'?)" if meant in known else f": {meant}" if meant else ""
    return f"there is no function '{name}'{hint}"


def with_base(text: str, base: str, instead: str, names: Collection[str] = ()) -> str:
    """With every reference to `base` made one to `instead`. Raises Unreadable."""
    made, end = [], 0
    chains = [node for node in tree.nodes(parse_expression(text, names)) if isinstance(node, tree.Chain)]
    for node in sorted(chains, key=lambda one: one.start):
        if node.reference.base == base and not _in_quotes(text, node):
            made += [text[end : node.start], f"${{{instead}{node.reference.text.removeprefix(base)}}}"]
            end = node.end
    return "".join([*made, text[end:]])


def normal(text: str, names: Collection[str] = ()) -> str:
    """The normal form. Raises Unreadable."""
    replaced: list[tuple[int, int, str]] = []
    for node in tree.nodes(parse_expression(text, names)):
        if isinstance(node, tree.Chain) and not _in_quotes(text, node):
            replaced.append((node.start, node.end, f"${{{node.reference.text}}}"))
        elif isinstance(node, tree.Braced):
            opening, closing = tree.braces(text, node)
            replaced += [(node.start, node.start + opening, "("), (node.end - closing, node.end, ")")]
    made, end = [], 0
    for start, stop, instead in sorted(replaced):
        made += [text[end:start], instead]
        end = stop
    return "".join([*made, text[end:]]).strip()


def _in_quotes(text: str, node: tree.Chain) -> bool:
    return not node.bare and text[node.start] not in "${"


def evaluate(text: str, resolve: Resolve, names: Collection[str] = ()) -> Any:
    """The value of an expression; `||` gives a default. `resolve` says what a reference stands for.

    Raises ParameterError in words for the author.
    """
    value = times.plain(Evaluation(text, resolve, gives_default=True).value(_tree(text, names)))
    if _is_larger(value, LONGEST_RESULT):
        raise ParameterError(f"'{text[:80]}' gives more than {LONGEST_RESULT:,} characters")
    return value


def _is_larger(value: object, most: int) -> bool:
    """Without writing it: a list may have one large list in it a thousand times."""
    stack = [value]
    while stack and most >= 0:
        top = stack.pop()
        most -= 2 + (len(top) if isinstance(top, str) else 0)
        if isinstance(top, dict):
            stack.extend(top.values())
            most -= sum(map(len, top))
        elif isinstance(top, list):
            stack.extend(top)
    return most < 0


def holds(text: str, resolve: Resolve, names: Collection[str] = ()) -> bool:
    """Whether a condition holds; null counts as false. Raises ParameterError, also for any other value."""
    return Evaluation(text, resolve).truth(_tree(text, names))


def _tree(text: str, names: Collection[str]) -> tree.Node:
    try:
        return parse_expression(text, names)
    except Unreadable as error:
        raise ParameterError(f"'{text[:80]}': {error.message} (character {error.offset + 1})") from None


def references_in(text: str) -> Iterator[Reference]:
    """Every reference of a value's text, those of expressions included. Raises ParameterError."""
    for part in parse(text):
        yield from _inner(part)


def _inner(part: Part) -> Iterator[Reference]:
    if isinstance(part, Reference) and part.is_expression:
        try:
            yield from read(part.text)
        except Unreadable as error:
            raise ParameterError(error.message) from None
    elif isinstance(part, Reference):
        yield part
