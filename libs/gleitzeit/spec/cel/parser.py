"""CEL, the Common Expression Language (cel.dev): from a text to a tree.

An own reading of it, for what authors of documents expect and no library gives: references stand in it as they do
everywhere else (`${check.result.score} > 0.8`, or bare: `check.result.score > 0.8`), whole numbers and fractions mix,
and what an evaluation may cost is bounded. Beyond the standard: `and`, `or`, `not`, `not in`, and `True`, `False`,
`None` as in the templates of earlier versions. Left out: bytes, unsigned numbers, messages.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Final, NoReturn

from gleitzeit.errors import ParameterError
from gleitzeit.spec.cel.tokens import Token, Tokens, closing_of, number, quoted
from gleitzeit.spec.cel.tree import (
    MACROS,
    Binary,
    Braced,
    Call,
    Chain,
    Choice,
    Has,
    Index,
    ListOf,
    Literal,
    Local,
    Logic,
    Macro,
    MapOf,
    Node,
    Select,
    Unary,
    Unreadable,
    below,
)
from gleitzeit.spec.references.references import Reference, read_reference

LONGEST: Final = 4000
"""Characters of one expression."""
DEEPEST: Final = 40
"""Brackets within brackets."""
TALLEST: Final = 120
"""Levels of the tree: also `a + b + c …` has one for each operator. Evaluation needs the call stack for each."""

_CONSTANTS: Final = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_LEVELS: Final = (("==", "!=", "<", "<=", ">", ">=", "in", "not in"), ("+", "-"), ("*", "/", "%"))


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
        level = [under for node in level for under in below(node)]
        if not level:
            return tree
    raise Unreadable(f"more than {TALLEST} operators depend on each other", level[0].start)


class _Parser:
    """Recursive descent, over `text[start:end]`."""

    def __init__(
        self, text: str, names: frozenset[str], start: int, end: int, *, depth: int = 0, scope: tuple[str, ...] = ()
    ) -> None:
        self._text = text
        self._names = names
        self._end = end
        self._depth = depth
        self._scope = scope
        self._tokens = Tokens(text, names, start, end)
        self._next = self._tokens.read()

    def whole(self) -> Node:
        node = self._expression()
        if self._next.kind != "end":
            self._unexpected("; an operator is missing before it" if self._next.kind != "sign" else "")
        return node

    # Tokens

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

    def _advance(self) -> Token:
        token = self._next
        self._next = self._tokens.read()
        return token

    def _is(self, *signs: str) -> bool:
        return self._next.kind == "sign" and self._next.text in signs

    def _expect(self, sign: str) -> Token:
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

    def _deeper(self, token: Token) -> None:
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

    def _call(self, name: Token, target: Node | None) -> Node:
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

    def _macro(self, name: Token, target: Node) -> Node:
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
                return Literal(token.start, token.end, number(token))
            case "text":
                self._advance()
                return quoted(token)
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

    def _named(self, token: Token) -> Node:
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

    def _braced(self, token: Token) -> Node:
        """`${task.field}`, or an expression in braces."""
        closing = "}" if token.text == "${" else "}}"
        end = closing_of(self._text, token.end, self._end, closing)
        if end < 0 and token.text == "${{":  # a map in `${…}`
            token, closing = Token("open", "${", token.start, token.end - 1), "}"
            end = closing_of(self._text, token.end, self._end, closing)
        if end < 0:
            raise Unreadable(f"'{token.text}' is not closed by '{closing}'", token.start)
        self._tokens.skip_to(end + len(closing))
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
