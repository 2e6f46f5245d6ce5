"""Texts that are neither JSON nor YAML: where they stop being it, in the words of someone who writes documents."""

import json
import math
import re
from typing import Final

import yaml

from gleitzeit.schemas.words import CURLY_QUOTES
from gleitzeit.spec.loading.build import LIMIT_DEPTH
from gleitzeit.spec.problems import Problem

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML 1.1 counts as one
JSON_TOKEN = re.compile(r'[{}\[\]]|"(?:[^"\\]|\\.)*"|[^\s{}\[\]:,"]+')
_AT_BYTE = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")
_SURROGATES = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)")  # a pair, or (half of one)


def at_the_end_of(before: str, message: str) -> Problem:
    """For the character that follows."""
    lines = LINE_BREAK.split(before)
    return Problem((), message, line=len(lines), column=len(lines[-1]) + 1)


_TRAILING: Final = "no ',' may follow the last value"
_JSON_IN_PLAIN_WORDS: Final = {
    "Expecting value": "a value is expected here; texts need double quotes, and nothing follows the last comma",
    "Expecting property name enclosed in double quotes": "a key in double quotes is expected here",
    "Illegal trailing comma before end of object": _TRAILING,
    "Illegal trailing comma before end of array": _TRAILING,
    "Expecting ',' delimiter": "a ',' or the closing bracket is expected here",
    "Expecting ':' delimiter": "a ':' is expected here, between the key and its value",
    "Extra data": "the document has ended before this",
    "Unterminated string starting at": "the text that begins here has no closing quote",
    "Invalid control character at": "a text cannot go on in the next line or hold a tab; write \\n or \\t",
    "invalid character": "no value begins like this; NaN and Infinity are none, give null or a text in their place",
    "unexpected end of escaped utf-16 surrogate pair": "half a surrogate pair",
    "invalid utf-16 surrogate pair": "half a surrogate pair",
    "Invalid \\escape": "no escape begins like this; a backslash is written \\\\",
}


_COMMENT: Final = "JSON has no comments; leave it out, or name the file .yaml, where comments begin with #"
_QUOTE: Final = 'keys and texts stand in double quotes: "'
_OF_ANOTHER_LANGUAGE: Final = (
    (re.compile(r"//|/\*|#"), _COMMENT),
    (re.compile(f"['`{CURLY_QUOTES}]"), _QUOTE),
    (re.compile(r"True\b|False\b"), "true and false are written in small letters"),
    (re.compile(r"None\b|undefined\b|nil\b"), "nothing is written as null"),
)


def json_problem(text: str, error: Exception) -> Problem:
    """Why `text` could not be read, if msgspec said `error`."""
    try:
        json.loads(text)
    except json.JSONDecodeError as found:  # says line and column, which msgspec does not
        message = _json_in_plain_words(text, found)
        return Problem((), f"not JSON: {message}", line=found.lineno, column=found.colno)
    except (ValueError, RecursionError):
        pass
    message = str(error) or "nested too deeply"
    if found_at := _AT_BYTE.fullmatch(message):
        before = text.encode()[: int(found_at[2])].decode(errors="ignore")
        message = _JSON_IN_PLAIN_WORDS.get(found_at[1], found_at[1])
    elif message.startswith(("Number out of range", "Integer value out of range")):
        tokens = (token for token in JSON_TOKEN.finditer(text) if math.isinf(_number(token[0])))
        before, message = text[: next(tokens).start()], "a number that is too large"
    elif half := next((found for found in _SURROGATES.finditer(text) if found[1]), None):
        before, message = text[: half.start()], "half a surrogate pair"
    else:
        before = ""
    return at_the_end_of(before, f"not JSON: {message}")


def _json_in_plain_words(text: str, found: json.JSONDecodeError) -> str:
    for pattern, message in _OF_ANOTHER_LANGUAGE:
        if found.msg.startswith(("Expecting", "Extra")) and pattern.match(text, found.pos):
            return message
    if text[found.pos : found.pos + 1] in ("}", "]") and text[: found.pos].rstrip().endswith(","):
        return _TRAILING  # newer versions of Python say so themselves
    return _JSON_IN_PLAIN_WORDS.get(found.msg, found.msg)


def _number(token: str) -> float:
    try:
        return float(token)
    except ValueError:
        return 0.0


_BRACES: Final = {"while parsing a flow mapping": "{}", "while parsing a flow sequence": "[]"}
_UNQUOTED: Final = "a reference within { } or [ ] needs quotes around its text"
_QUOTED: Final = "while scanning a quoted scalar"
_ESCAPED: Final = "while parsing a quoted scalar"
_ESCAPE: Final = r"in double quotes a backslash begins an escape: write \\, or put the text in single quotes"
_MARKED: Final = ("while scanning a tag", "while scanning an anchor", "while scanning an alias")
_NO_TOKEN: Final = "found character that cannot start any token"
_YAML_IN_PLAIN_WORDS: Final = {
    "found a tab character that violates indentation": "a tab cannot indent; use spaces",
    "found a tab character where an indentation space is expected": "a tab cannot indent; use spaces",
    "mapping values are not allowed in this context": "a ':' is not expected here; a text with ': ' in it needs quotes",
    "block sequence entries are not allowed in this context": "a '- ' begins a line of its own",
    "could not find expected ':'": "a ':' is missing after this key",
    "did not find expected key": "a key is expected here; check the indentation and the quotes before",
    "did not find expected '-' indicator": "a '- ' is expected here; check the indentation",
    # what libyaml may say of 1,000 levels before it tells of the first
    "exceeded maximum nesting depth": f"nested deeper than {LIMIT_DEPTH}",
}


# What libyaml reads: anything else stops it, and it says only at which byte of which encoding. Not compiled until then:
# that takes 8 ms.
_UNPRINTABLE: Final = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"


def yaml_problem(error: yaml.YAMLError, text: str) -> Problem:
    """Why `text` could not be read, if libyaml said `error`."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark or error.context_mark) is not None:
        message, line, column = _yaml_in_plain_words(error, mark, LINE_BREAK.split(text))
        return Problem((), f"not YAML: {message}", line=line + 1, column=column + 1)
    if (odd := re.search(_UNPRINTABLE, text)) is not None:
        message = f"the character U+{ord(odd[0]):04X} cannot stand in YAML as itself; in double quotes, an escape can"
        return at_the_end_of(text[: odd.start()], f"not YAML: {message}")
    return Problem((), f"not YAML: {str(error).partition(chr(10))[0]}")


def _yaml_in_plain_words(error: yaml.MarkedYAMLError, mark: yaml.Mark, lines: list[str]) -> tuple[str, int, int]:
    """The message, and where it belongs: libyaml tells of the place where it gave up, and of the one where what it was
    in began."""
    said, context, begun = error.problem or str(error), error.context or "", error.context_mark or mark
    line = next(iter(lines[mark.line :]), "")
    if said == _NO_TOKEN:
        return _no_token(line[mark.column : mark.column + 1]), mark.line, mark.column
    if context in _BRACES and line[mark.column - 1 : mark.column + 1] == "${":
        before = line[max(0, mark.column - 2) : mark.column - 1]
        none = f", and {before} is none" if before and before in CURLY_QUOTES else ""
        return f"{_UNQUOTED}{none}", mark.line, mark.column - 1
    if context == _QUOTED:
        return "the text that begins here has no closing quote", begun.line, begun.column
    if context == _ESCAPED:
        return _ESCAPE, mark.line, mark.column
    if context in _MARKED:
        return _no_token(lines[begun.line][begun.column : begun.column + 2]), begun.line, begun.column
    if context in _BRACES and (brace := _BRACES[context])[1] in said:
        message = f"a ',' or '{brace[1]}' is expected here: the '{brace[0]}' in line {begun.line + 1} is not closed"
        return message, mark.line, mark.column
    message = _YAML_IN_PLAIN_WORDS.get(said) or " ".join(part for part in (context, said) if part)
    return message, mark.line, mark.column


def _no_token(beginning: str) -> str:
    """Of a plain text that may not begin so."""
    if beginning == "\t":
        return "a tab cannot indent; use spaces"
    if beginning == "* ":
        return "the items of a list begin with '- '"
    return f"a text that begins with {beginning[:1]} needs quotes"
