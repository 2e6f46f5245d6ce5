"""References in Python source: taken out as text, put back as values.

What a reference stands for never becomes source text: an LLM's answer must not become a program. `take_out` replaces
each reference by a name; `bind`, at the provider, parses the source and puts each value where its name stands, as a
variable or as a piece of a string constant. A name in any other place is refused.
"""

import ast
import re
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

from gleitzeit.errors import ParameterError
from gleitzeit.spec.references.references import Part, Reference, as_text, has_places, parse
from gleitzeit.spec.references.script import compile_script

Mode = Literal["exec", "eval"]

_PREFIX = "__ref_"
_FRESH = "<fresh>"
"""Under this name, which no source can spell, a program finds what copies a list or a map."""
_SHORT_CHARS = 10_000
_NAME_CHARS = 40
_UNREADABLE = (ValueError, RecursionError, MemoryError)  # null bytes, and nesting beyond what Python's parser bears


class Taken(NamedTuple):
    """`bindings`: placeholder -> the reference as the author wrote it, braces included."""

    source: str
    bindings: dict[str, str]


class SourceProblem(NamedTuple):
    """`line` counts from 1 in the source; `offset` are the characters between the indentation of it and the place."""

    line: int
    message: str
    offset: int = 0


class Bound(NamedTuple):
    """A tree to compile and the variables that it reads (one may be a function): they belong into its globals."""

    tree: ast.Module | ast.Expression
    variables: dict[str, object]


def take_out(source: str, *, first: int = 0, is_reference: Callable[[Reference], bool] = lambda _: True) -> Taken:
    """`source` with a placeholder for each different reference, numbered from `first`, and `$${` made plain.

    A reference of which `is_reference` says no, or which stands in a comment, stays the text it is.
    Raises ParameterError for a broken `${`.
    """
    if not has_places(source):
        return Taken(source, {})
    parts = parse(source)
    wanted = dict.fromkeys(part.source for part in parts if isinstance(part, Reference) and is_reference(part))
    prefix = _PREFIX
    while prefix in source:
        prefix += "_"
    names = _numbered(wanted, prefix, first)
    replaced = _join(parts, names)
    used = _in_use(replaced, names.values())
    if len(used) < len(names):
        names = _numbered([text for text, name in names.items() if name in used], prefix, first)
        replaced = _join(parts, names)
    return Taken(replaced, {name: text for text, name in names.items()})


def _numbered(texts: Iterable[str], prefix: str, first: int) -> dict[str, str]:
    """Each with what it stands for in its name, which tracebacks show."""
    return {text: f"{prefix}{number}{_readable(text)}__" for number, text in enumerate(texts, first)}


def _readable(text: str) -> str:
    words = "_".join(re.findall("[A-Za-z0-9]+", text))[:_NAME_CHARS].rstrip("_")
    return f"_{words}" if words else ""


def _join(parts: tuple[Part, ...], names: Mapping[str, str]) -> str:
    return "".join(part if isinstance(part, str) else names.get(part.source, part.source) for part in parts)


def _in_use(source: str, names: Collection[str]) -> set[str]:
    """The names that the program has: those of comments it does not. All of them if it cannot be parsed."""
    try:
        tree = _parse(source)
    except (SyntaxError, *_UNREADABLE):
        return set(names)
    pattern = _any_of(names)
    return {found for _, text in _texts(tree) for found in pattern.findall(text)}


def check_source(source: str, placeholders: Collection[str] = (), mode: Mode = "exec") -> list[SourceProblem]:
    """What keeps `source` (with placeholders, as `take_out` left it) from being parsed and bound."""
    try:
        if mode == "eval":
            source = source.strip()
            tree = _parse_fresh(source, mode)
        else:
            tree = _parse(source)
            _compile(source)
    except SyntaxError as error:
        line = error.lineno or 1
        return [
            SourceProblem(line, f"Python cannot read this: {error.msg}", _offset(error, source, line, placeholders))
        ]
    except _UNREADABLE as error:
        return [SourceProblem(1, f"Python cannot read this: {str(error) or 'nested too deeply'}")]
    return _misplaced(tree, placeholders) if placeholders else []


def _compile(source: str) -> None:
    """Raises SyntaxError for what is no mistake of grammar: a `yield` outside of a function, a `break` of a loop."""
    if len(source) <= _SHORT_CHARS:
        _compile_short(source)
    else:
        _compile_fresh(source)


@lru_cache(maxsize=256)
def _compile_short(source: str) -> None:
    _compile_fresh(source)


def _compile_fresh(source: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(_parse(source), "<code>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        except SyntaxError:  # or only because it returns at its top
            compile_script(_parse_fresh(source, "exec"), "<code>")


def _offset(error: SyntaxError, source: str, line: int, placeholders: Collection[str]) -> int:
    """0 behind a placeholder, which is not as long as what the author wrote."""
    text = next(iter(source.splitlines()[line - 1 :]), "")
    before = text[: (error.offset or 1) - 1]
    return 0 if any(name in before for name in placeholders) else max(0, len(before) - _indent(text))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def bind(source: str, values: Mapping[str, object], mode: Mode = "exec") -> Bound:
    """The tree of `source` with `values` (placeholder -> value) in it.

    In a string constant a value stands as text (a text as it is, everything else as JSON), elsewhere as itself: a list
    or a map is a new one whenever the place is evaluated, as if it were written there.
    Raises SyntaxError for a source that is none, ParameterError for a placeholder where no value can stand.
    """
    try:
        tree = _parse_fresh(source, mode)
    except _UNREADABLE as error:
        raise SyntaxError(str(error) or "nested too deeply") from error
    if problems := _misplaced(tree, values):
        raise ParameterError("; ".join(f"line {problem.line}: {problem.message}" for problem in problems))
    if values:
        _fill_constants(tree, values)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    variables = {name: value for name, value in values.items() if name in names}
    if copied := {name for name, value in variables.items() if isinstance(value, list | dict)}:
        tree = _Fresh(copied).visit(tree)
        variables[_FRESH] = _copy
    return Bound(tree, variables)


class _Fresh(ast.NodeTransformer):
    """Has each reading of these names copy what it reads."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self._names:
            return node
        copying = ast.Call(ast.Name(_FRESH, ast.Load()), [node], [])
        return ast.fix_missing_locations(ast.copy_location(copying, node))


def _copy(value: object) -> object:
    """Of JSON, down to its scalars."""
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _parse_fresh(source: str, mode: Mode) -> ast.Module | ast.Expression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an author's `"\d"` is for the provider to run, not for us to complain about
        if mode == "eval":
            return ast.parse(source.strip(), mode="eval")
        return ast.parse(dedented(source))


def dedented(source: str) -> str:
    """Of a source that is indented as a whole, as by an author who writes it within a program: without that."""
    return textwrap.dedent(source) if re.match(r"(?:[ \t\r]*\n)*[ \t]+\S", source) else source


def _parse(source: str) -> ast.Module | ast.Expression:
    """A fan-out has one program a thousand times: short ones are parsed once. Nobody changes these trees."""
    return _parse_short(source) if len(source) <= _SHORT_CHARS else _parse_fresh(source, "exec")


@lru_cache(maxsize=256)
def _parse_short(source: str) -> ast.Module | ast.Expression:
    return _parse_fresh(source, "exec")


def _any_of(names: Collection[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, names)) or r"(?!)")


def _texts(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Every piece of text in a tree, be it a name, an attribute, a string constant or the name of an import."""
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            for text in value if isinstance(value, list) else (value,):
                if isinstance(text, str):
                    yield node, text
                elif isinstance(text, bytes):
                    yield node, text.decode("latin-1")


def _misplaced(tree: ast.AST, placeholders: Collection[str]) -> list[SourceProblem]:
    pattern = _any_of(placeholders)
    line = 1
    problems = []
    for node, text in _texts(tree):
        line = getattr(node, "lineno", line)
        if not isinstance(node, ast.Constant) and pattern.search(text) and not _is_read(node, pattern):
            problems.append(SourceProblem(line, _why_misplaced(node)))
    return problems


def _is_read(node: ast.AST, pattern: re.Pattern[str]) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and pattern.fullmatch(node.id) is not None


def _why_misplaced(node: ast.AST) -> str:
    match node:
        case ast.Name(ctx=ast.Load()):
            what = "is glued to a name"
        case ast.Name():
            what = "cannot be assigned to or deleted"
        case ast.Attribute():
            what = "cannot be the name of an attribute; use getattr()"
        case ast.alias() | ast.ImportFrom():
            what = "cannot be the name of an import"
        case ast.arg() | ast.keyword():
            what = "cannot be the name of a parameter"
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            what = "cannot be the name of a definition"
        case _:
            what = "cannot stand here"
    return f"a reference is a value, and {what}"


def _fill_constants(tree: ast.AST, values: Mapping[str, object]) -> None:
    pattern = _any_of(values)

    def text_of(match: re.Match[str]) -> str:
        return as_text(values[match[0]])

    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant):
            continue
        if isinstance(node.value, str):
            node.value = pattern.sub(text_of, node.value)
        elif isinstance(node.value, bytes):
            as_bytes = re.compile(pattern.pattern.encode())
            node.value = as_bytes.sub(lambda match: as_text(values[match[0].decode()]).encode(), node.value)
