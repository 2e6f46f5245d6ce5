"""The words of an expression; and what numbers and quoted texts among them stand for."""

import re
from typing import Final, NoReturn

from msgspec import Struct

from gleitzeit.errors import ParameterError
from gleitzeit.schemas.words import CURLY_QUOTES
from gleitzeit.spec.cel.tree import Literal, Node, Template, Unreadable
from gleitzeit.spec.references.references import parse

_WORDS: Final = {"and": "&&", "or": "||", "not": "not", "in": "in"}
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


class Token(Struct, frozen=True):
    """`kind`: number, text, word, open (`${`), sign; name (of a task, more than one word); end."""

    kind: str
    text: str
    start: int
    end: int


class Tokens:
    """Those of `text[start:end]`, one after the other. `names` are those of tasks that are more than one word."""

    def __init__(self, text: str, names: frozenset[str], start: int, end: int) -> None:
        self._text = text
        self._names = names
        self._end = end
        self._at = start

    def skip_to(self, at: int) -> None:
        """What was read by other means ends there."""
        self._at = at

    def read(self) -> Token:
        while True:
            start = self._at
            if start >= self._end:
                return Token("end", "", self._end, self._end)
            if (name := self._odd_name(start)) is not None:
                self._at = start + len(name)
                return Token("name", name, start, self._at)
            found = _TOKEN.match(self._text, start, self._end)
            if found is None:
                self._unreadable_at(start)
            if found.lastgroup == "number" and self._is_field(start):  # `results.0.1` has no fraction in it
                found = _DIGITS.match(self._text, start, self._end) or found
                self._at = found.end()
                return Token("number", found[0], start, found.end())
            self._at = found.end()
            kind = str(found.lastgroup)
            if kind == "space":
                continue
            text = found[0]
            if kind == "word" and text in _WORDS and not self._is_field(start):
                kind, text = "sign", _WORDS[text]
            return Token(kind, text, start, found.end())

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
        quotes = "; the quotes of a text are \" or '" if char in CURLY_QUOTES else ""
        raise Unreadable(f"{char!r} has no meaning here{quotes}", at)


def closing_of(text: str, at: int, end: int, closing: str) -> int:
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


def number(token: Token) -> int | float:
    """Raises Unreadable."""
    text = token.text.rstrip("u") if not token.text.startswith("0x") else token.text
    if text.startswith("0x"):
        value: int | float = int(text.rstrip("u"), 16)
    else:
        value = int(text) if text.isdigit() and len(text) < 30 else float(text)
    if isinstance(value, int) and value >= _LARGEST:
        raise Unreadable(f"{token.text} has more than 64 bits", token.start)
    return value


def quoted(token: Token) -> Node:
    """A Literal, or a Template where references are in it. Raises Unreadable."""
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
