"""What an expression is read into: its nodes, each with its place in the text."""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from gleitzeit.spec.references.references import Reference

MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})


class Unreadable(ValueError):
    """The text is no expression. `offset` counts its characters from 0."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class Node(Struct, frozen=True):
    """`start` and `end` say where in the text it stands."""

    start: int
    end: int


class Literal(Node, frozen=True):
    value: object


class Template(Node, frozen=True):
    """A quoted text with references in it."""

    parts: tuple[str | Reference, ...]


class Chain(Node, frozen=True):
    """A reference, with its braces or `bare`."""

    reference: Reference
    bare: bool


class Braced(Node, frozen=True):
    """`${…}` or `{{…}}` around an expression."""

    inner: Node


def braces(text: str, node: Braced) -> tuple[int, int]:
    """How many characters open and close it."""
    closing = 2 if text.startswith(("{{", "${{"), node.start) and text.endswith("}}", node.start, node.end) else 1
    return (3 if closing == 2 and text[node.start] == "$" else 2), closing


class Local(Node, frozen=True):
    """The variable of a macro: the `x` of `list.exists(x, x > 1)`."""

    name: str


class Select(Node, frozen=True):
    of: Node
    key: str


class Index(Node, frozen=True):
    of: Node
    key: Node


class Call(Node, frozen=True):
    """`target.name(arguments)` has its target as the first argument."""

    name: str
    arguments: tuple[Node, ...]


class Has(Node, frozen=True):
    of: Node


class Macro(Node, frozen=True):
    """`name` is one of MACROS; `body` is evaluated for each item of `of`, as `variable`."""

    name: str
    of: Node
    variable: str
    body: Node
    test: Node | None = None
    """Of `map(x, test, body)`."""


class Unary(Node, frozen=True):
    operator: str
    operand: Node


class Binary(Node, frozen=True):
    operator: str
    left: Node
    right: Node


class Logic(Node, frozen=True):
    """`&&` or `||` of two or more."""

    operator: str
    operands: tuple[Node, ...]


class Choice(Node, frozen=True):
    condition: Node
    then: Node
    otherwise: Node


class ListOf(Node, frozen=True):
    items: tuple[Node, ...]


class MapOf(Node, frozen=True):
    pairs: tuple[tuple[Node, Node], ...]


def nodes(tree: Node) -> Iterator[Node]:
    """The tree and everything below it; a reference within a quoted text as a Chain too."""
    stack = [tree]
    while stack:
        top = stack.pop()
        yield top
        if isinstance(top, Template):
            yield from (Chain(top.start, top.end, part, False) for part in top.parts if isinstance(part, Reference))
        stack.extend(below(top))


def below(node: Node) -> Iterator[Node]:
    """The nodes right below one."""
    match node:
        case Braced(inner=one) | Select(of=one) | Has(of=one) | Unary(operand=one):
            yield one
        case Index(of=one, key=other) | Binary(left=one, right=other):
            yield from (one, other)
        case Call(arguments=several) | Logic(operands=several) | ListOf(items=several):
            yield from several
        case Macro():
            yield from (node.of, node.body)
            if node.test is not None:
                yield node.test
        case Choice():
            yield from (node.condition, node.then, node.otherwise)
        case MapOf(pairs=pairs):
            for key, value in pairs:
                yield from (key, value)
