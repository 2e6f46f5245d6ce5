"""CEL, the Common Expression Language (cel.dev): from a text to a tree.

An own reading of it, for what authors of documents expect and no library gives: references stand in it as they do
everywhere else (`${check.result.score} > 0.8`, or bare: `check.result.score > 0.8`), whole numbers and fractions mix,
and what an evaluation may cost is bounded. Beyond the standard: `and`, `or`, `not`, `not in`, and `True`, `False`,
`None` as in the templates of earlier versions. Left out: bytes, unsigned numbers, messages.
"""

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Final, NoReturn

from msgspec import Struct

from gleitzeit.errors import ParameterError
from gleitzeit.spec.references import Reference, parse, read_reference

LONGEST: Final = 4000
"""Characters of one expression."""
DEEPEST: Final = 40
"""Brackets within brackets."""
TALLEST: Final = 120
"""Levels of the tree: also `a + b + c …` has one for each operator. Evaluation needs the call stack for each."""


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


MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})
_WORDS: Final = {"and": "&&", "or": "||", "not": "not", "in": "in"}
_CONSTANTS: Final = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_LEVELS: Final = (("==", "!=", "<", "<=", ">", ">=", "in", "not in"), ("+", "-"), ("*", "/", "%"))
_LARGEST: Final = 2**63

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    | (?P<number>0x[0-9a-fA-F]+u?|(?:\d+\.\d+|\d+(?=[eE][-+]?\d))(?:[eE][-+]?\d+)?|\d+u?)
    | (?P<text>[rR]?(?:\"\"\"(?s:.*?)\"\"\"|'''(?s:.*?)'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    | (?P<word>[A-Za-z_]\w*)
    | (?P<open>\$\{\{?|\{\{)
    | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}=&|])""",
    re.VERBOSE,
)
_DIGITS = re.compile(r"\d+")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|[xX]([0-9a-fA-F]{2})|([0-7]{3})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class _Token(Struct, frozen=True):
    kind: str
    text: str
    start: int
    end: int


def parse_expression(text: str, names: Collection[str] = ()) -> Node:
    """The tree of an expression. `names` are those of tasks that are more than one word, as `first-check`: they may
    stand in it bare as well. Raises Unreadable."""
    return _parsed(text, names if isinstance(names, frozenset) else frozenset(names))


@lru_cache(maxsize=4096)
def _parsed(text: str, names: frozenset[str]) -> Node:
    if len(text) > LONGEST:
        raise Unreadable(f"an expression of {len(text)} characters; {LONGEST} are allowed", 0)
    if not text.strip():
        raise Unreadable("an expression is missing", 0)
    tree = _Parser(text, names, 0, len(text)).whole()
    level = [tree]
    for _ in range(TALLEST):
        level = [below for node in level for below in _below(node)]
        if not level:
            return tree
    raise Unreadable(f"more than {TALLEST} operators depend on each other", level[0].start)


def nodes(tree: Node) -> Iterator[Node]:
    """The tree and everything below it; a reference within a quoted text as a Chain too."""
    stack = [tree]
    while stack:
        top = stack.pop()
        yield top
        if isinstance(top, Template):
            yield from (Chain(top.start, top.end, part, False) for part in top.parts if isinstance(part, Reference))
        stack.extend(_below(top))


def _below(node: Node) -> Iterator[Node]:
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


class _Parser:
    """Recursive descent, over `text[start:end]`."""

    def __init__(
        self, text: str, names: frozenset[str], start: int, end: int, *, depth: int = 0, scope: tuple[str, ...] = ()
    ) -> None:
        self._text = text
        self._names = names
        self._end = end
        self._at = start
        self._depth = depth
        self._scope = scope
        self._next = self._read()

    def whole(self) -> Node:
        node = self._expression()
        if self._next.kind != "end":
            self._unexpected("; an operator is missing before it" if self._next.kind != "sign" else "")
        return node

    # Tokens

    def _read(self) -> _Token:
        while True:
            start = self._at
            if start >= self._end:
                return _Token("end", "", self._end, self._end)
            if (name := self._odd_name(start)) is not None:
                self._at = start + len(name)
                return _Token("name", name, start, self._at)
            found = _TOKEN.match(self._text, start, self._end)
            if found is None:
                self._unreadable_at(start)
            if found.lastgroup == "number" and self._is_field(start):  # `results.0.1` has no fraction in it
                found = _DIGITS.match(self._text, start, self._end) or found
                self._at = found.end()
                return _Token("number", found[0], start, found.end())
            self._at = found.end()
            kind = str(found.lastgroup)
            if kind == "space":
                continue
            text = found[0]
            if kind == "word" and text in _WORDS and not self._is_field(start):
                kind, text = "sign", _WORDS[text]
            return _Token(kind, text, start, found.end())

    def _odd_name(self, at: int) -> str | None:
        """`first-check`, which would be a difference otherwise."""
        before = self._text[at - 1] if at else " "
        if not self._names or before.isalnum() or before in "_.-":
            return None
        found = [name for name in self._names if self._text.startswith(name, at, self._end)]
        name = max(found, key=len, default="")
        after = self._text[at + len(name) : at + len(name) + 1]
        return name if name and not (after.isalnum() or after in ("_", "-")) else None

    def _is_field(self, at: int) -> bool:
        return self._text[:at].rstrip().endswith(".")

    def _unreadable_at(self, at: int) -> NoReturn:
        char = self._text[at]
        if char in "\"'":
            raise Unreadable("this text has no closing quote", at)
        raise Unreadable(f"{char!r} has no meaning here", at)

    def _unexpected(self, hint: str = "") -> NoReturn:
        token = self._next
        if token.kind == "end":
            raise Unreadable("the expression ends too early", token.start)
        if token.text == "=":
            raise Unreadable("'=' compares nothing: write '=='", token.start)
        if token.text in ("&", "|"):
            raise Unreadable(f"'{token.text}' is written '{token.text * 2}'", token.start)
        if token.text == "is":
            raise Unreadable("'is' has no meaning: compare with '== null', or ask 'has(task.field)'", token.start)
        raise Unreadable(f"'{token.text}' is not expected here{hint}", token.start)

    def _advance(self) -> _Token:
        token = self._next
        self._next = self._read()
        return token

    def _is(self, *signs: str) -> bool:
        return self._next.kind == "sign" and self._next.text in signs

    def _expect(self, sign: str) -> _Token:
        if not self._is(sign):
            self._unexpected(f"; '{sign}' is" if self._next.kind != "end" else "")
        return self._advance()

    # Grammar

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Unreadable(f"nested deeper than {DEEPEST}", self._next.start)
        node = self._logic("||")
        if self._is("?"):
            self._advance()
            then = self._expression()
            self._expect(":")
            otherwise = self._expression()
            node = Choice(node.start, otherwise.end, node, then, otherwise)
        self._depth -= 1
        return node

    def _logic(self, operator: str) -> Node:
        operands = [self._logic("&&") if operator == "||" else self._negation()]
        while self._is(operator):
            self._advance()
            operands.append(self._logic("&&") if operator == "||" else self._negation())
        if len(operands) == 1:
            return operands[0]
        return Logic(operands[0].start, operands[-1].end, operator, tuple(operands))

    def _negation(self) -> Node:
        """`not a == b` negates the comparison, `!a == b` only `a`."""
        if not self._is("not"):
            return self._binary(0)
        token = self._advance()
        self._deeper(token)
        operand = self._negation()
        self._depth -= 1
        return Unary(token.start, operand.end, "!", operand)

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        node = self._binary(level + 1)
        while operator := self._operator(level):
            right = self._binary(level + 1)
            node = Binary(node.start, right.end, operator, node, right)
        return node

    def _operator(self, level: int) -> str:
        if level == 0 and self._is("not"):
            token = self._advance()
            if not self._is("in"):
                raise Unreadable("'not' is not expected here", token.start)
            self._advance()
            return "not in"
        return self._advance().text if self._is(*_LEVELS[level]) else ""

    def _unary(self) -> Node:
        if not self._is("!", "-"):
            return self._member()
        token = self._advance()
        self._deeper(token)
        operand = self._unary()
        self._depth -= 1
        return Unary(token.start, operand.end, token.text, operand)

    def _deeper(self, token: _Token) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Unreadable(f"nested deeper than {DEEPEST}", token.start)

    def _member(self) -> Node:
        node = self._primary()
        while True:
            if self._is("."):
                node = self._field(node)
            elif self._is("["):
                self._advance()
                key = self._expression()
                end = self._expect("]").end
                node = _indexed(node, key, end)
            else:
                return node

    def _field(self, node: Node) -> Node:
        self._advance()
        if self._next.kind == "number" and self._next.text.isdigit():  # as in `results.0.x`
            token = self._advance()
            return _indexed(node, Literal(token.start, token.end, int(token.text)), token.end)
        if self._next.kind not in ("word", "name"):
            self._unexpected("; the name of a field is")
        token = self._advance()
        if self._is("("):
            return self._call(token, node)
        return _selected(node, token.text, token.end)

    def _call(self, name: _Token, target: Node | None) -> Node:
        self._advance()
        if name.text in MACROS and target is not None:
            return self._macro(name, target)
        if isinstance(target, Chain) and target.bare and target.reference.text == "math":
            target = None  # `math.least(a, b)`
        arguments = [] if target is None else [target]
        while not self._is(")"):
            arguments.append(self._expression())
            if not self._is(")"):
                self._expect(",")
        end = self._advance().end
        start = name.start if target is None else target.start
        if name.text == "has" and target is None:
            if len(arguments) != 1:
                raise Unreadable("has() takes one reference, as in has(task.field)", name.start)
            return Has(start, end, arguments[0])
        return Call(start, end, name.text, tuple(arguments))

    def _macro(self, name: _Token, target: Node) -> Node:
        if self._next.kind != "word":
            self._unexpected(f"; {name.text}() takes a name and an expression, as in {name.text}(x, x > 1)")
        variable = self._advance().text
        self._expect(",")
        outer, self._scope = self._scope, (*self._scope, variable)
        bodies = [self._expression()]
        if name.text == "map" and self._is(","):
            self._advance()
            bodies.append(self._expression())
        self._scope = outer
        end = self._expect(")").end
        return Macro(target.start, end, name.text, target, variable, bodies[-1], bodies[0] if bodies[1:] else None)

    def _primary(self) -> Node:
        token = self._next
        match token.kind:
            case "number":
                self._advance()
                return Literal(token.start, token.end, _number(token))
            case "text":
                self._advance()
                return _quoted(token)
            case "open":
                return self._braced(token)
            case "word" | "name":
                return self._named(self._advance())
        if self._is("("):
            self._advance()
            node = self._expression()
            self._expect(")")
            return node
        if self._is("["):
            return self._list()
        if self._is("{"):
            return self._map()
        self._unexpected()

    def _named(self, token: _Token) -> Node:
        if token.kind == "word" and token.text in _CONSTANTS:
            return Literal(token.start, token.end, _CONSTANTS[token.text])
        if self._is("("):
            return self._call(token, None)
        if token.text in self._scope:
            return Local(token.start, token.end, token.text)
        return Chain(token.start, token.end, Reference(token.text, token.text, token.text), True)

    def _list(self) -> Node:
        start, items = self._advance().start, []
        while not self._is("]"):
            items.append(self._expression())
            if not self._is("]"):
                self._expect(",")
        return ListOf(start, self._advance().end, tuple(items))

    def _map(self) -> Node:
        start, pairs = self._advance().start, []
        while not self._is("}"):
            key = self._expression()
            self._expect(":")
            pairs.append((key, self._expression()))
            if not self._is("}"):
                self._expect(",")
        return MapOf(start, self._advance().end, tuple(pairs))

    def _braced(self, token: _Token) -> Node:
        """`${task.field}`, or an expression in braces."""
        closing = "}" if token.text == "${" else "}}"
        end = _closing(self._text, token.end, self._end, closing)
        if end < 0 and token.text == "${{":  # a map in `${…}`
            token, closing = _Token("open", "${", token.start, token.end - 1), "}"
            end = _closing(self._text, token.end, self._end, closing)
        if end < 0:
            raise Unreadable(f"'{token.text}' is not closed by '{closing}'", token.start)
        self._at = end + len(closing)
        self._advance()
        inner, source = self._text[token.end : end], self._text[token.start : end + len(closing)]
        try:
            reference = read_reference(inner, source)
        except ParameterError as error:
            raise Unreadable(error.message, token.start) from None
        end += len(closing)
        if not reference.is_expression or reference.base in self._names:
            local = reference.base in self._scope and reference.default is None
            return _local(reference, token.start, end) if local else Chain(token.start, end, reference, False)
        inside = end - len(closing)
        within = _Parser(self._text, self._names, token.end, inside, depth=self._depth, scope=self._scope)
        return Braced(token.start, end, within.whole())


def _local(reference: Reference, start: int, end: int) -> Node:
    node: Node = Local(start, end, reference.base)
    for step in reference.path:
        node = Select(start, end, node, step)
    return node


def _closing(text: str, at: int, end: int, closing: str) -> int:
    """Where `closing` stands, beyond quoted texts and inner braces; -1 if it is missing."""
    depth = 0
    while at < end:
        found = _TOKEN.match(text, at, end)
        if depth == 0 and text.startswith(closing, at):
            return at
        if found is None or found.lastgroup not in ("text", "space"):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        else:
            at = found.end()
    return -1


def _selected(node: Node, key: str, end: int) -> Node:
    if isinstance(node, Chain) and node.bare:
        return _longer(node, key, f".{key}", end)
    return Select(node.start, end, node, key)


def _indexed(node: Node, key: Node, end: int) -> Node:
    if isinstance(node, Chain) and node.bare and isinstance(key, Literal):
        if isinstance(key.value, int) and not isinstance(key.value, bool):
            return _longer(node, str(key.value), f"[{key.value}]", end)
        if isinstance(key.value, str) and key.value and not set(key.value) & set("\"'[]"):
            return _longer(node, key.value, f'["{key.value}"]', end)
    return Index(node.start, end, node, key)


def _longer(node: Chain, step: str, written: str, end: int) -> Chain:
    old = node.reference
    text = old.text + written
    return Chain(node.start, end, Reference(text, text, old.base, (*old.path, step)), True)


def _number(token: _Token) -> int | float:
    text = token.text.rstrip("u") if not token.text.startswith("0x") else token.text
    if text.startswith("0x"):
        value: int | float = int(text.rstrip("u"), 16)
    else:
        value = int(text) if text.isdigit() and len(text) < 30 else float(text)
    if isinstance(value, int) and value >= _LARGEST:
        raise Unreadable(f"{token.text} has more than 64 bits", token.start)
    return value


def _quoted(token: _Token) -> Node:
    raw = token.text[0] in "rR"
    body = token.text[1:] if raw else token.text
    width = 3 if body[:3] in ('"""', "'''") and len(body) >= 6 else 1
    body = body[width:-width]
    text = body if raw else _ESCAPE.sub(_unescaped, body)
    if "${" not in text:
        return Literal(token.start, token.end, text)
    try:
        return Template(token.start, token.end, parse(text))
    except ParameterError as error:
        raise Unreadable(error.message, token.start) from None


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code or match[4]:
        number = int(code, 16) if code else int(match[4], 8)
        return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
    return _ESCAPED.get(match[5], match[5])
