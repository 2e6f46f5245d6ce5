"""CEL evaluated: a tree and what its references stand for -> a value of JSON.

As in CEL: no value is a truth value but true and false (and null, which counts as false); `&&` and `||` do not mind a
part that cannot be evaluated if another decides; whole numbers have 64 bits, and `/` of two of them rounds towards 0.
Unlike it: whole numbers and fractions mix.
"""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NoReturn

import jsonschema_rs

from gleitzeit.errors import ParameterError
from gleitzeit.spec import cel, cel_times
from gleitzeit.spec.references import Reference, as_text

STEPS: Final = 100_000
"""Of one evaluation: about a twentieth of a second. Long texts and lists take one for a hundred of what they have."""
LONGEST_PATTERN: Final = 500
_MOST: Final = 2**63

Resolve = Callable[[Reference], object]


class Unfit(ParameterError):
    """An operator or a function met a value that it is not for, or the evaluation costs too much."""


class Evaluation:
    """Of one expression, once. `text` is what the tree was read from, for messages.

    With `gives_default` an `||` gives the first operand that is neither null, false, "" nor missing, else the last.
    """

    def __init__(self, text: str, resolve: Resolve, *, gives_default: bool = False) -> None:
        self._text = text
        self._resolve = resolve
        self._gives_default = gives_default
        self._left = STEPS
        self._locals: dict[str, object] = {}

    def value(self, node: cel.Node) -> Any:
        """Raises ParameterError: from `resolve`, or Unfit."""
        self._spend(1)
        return _EVALUATE[type(node)](self, node)

    def truth(self, node: cel.Node) -> bool:
        value = self.value(node)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise Unfit(f"{self._words(node)} is {kind(value)}, not true or false")

    # Cost and complaints

    def _spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise Unfit(f"the expression '{self._text[:80]}' takes more than {STEPS:,} steps")

    def _sized(self, value: Any) -> Any:
        self._spend(len(value) // 100)
        return value

    def _words(self, node: cel.Node) -> str:
        return f"'{self._text[node.start : node.end]}'"

    def _unfit(self, node: cel.Node, operator: str, left: object, right: object) -> NoReturn:
        raise Unfit(f"{self._words(node)}: '{operator}' is not for {kind(left)} and {kind(right)}")

    # Nodes

    def _literal(self, node: cel.Literal) -> object:
        return node.value

    def _template(self, node: cel.Template) -> object:
        parts = (part if isinstance(part, str) else as_text(self._resolve(part)) for part in node.parts)
        return self._sized("".join(parts))

    def _chain(self, node: cel.Chain) -> object:
        return self._resolve(node.reference)

    def _braced(self, node: cel.Braced) -> object:
        return self.value(node.inner)

    def _local(self, node: cel.Local) -> object:
        return self._locals[node.name]

    def _further(self, node: cel.Node) -> Reference | None:
        """`a[i].b` is one reference, with all that is special in them, once it is known what `i` is."""
        steps: list[str | cel.Node] = []
        while isinstance(node, cel.Select | cel.Index):
            steps.append(node.key)
            node = node.of
        if not isinstance(node, cel.Chain) or all(isinstance(step, str) for step in steps):
            return None
        keys = [step if isinstance(step, str) else self.value(step) for step in reversed(steps)]
        path = [int(key) if isinstance(key, float) and key.is_integer() else key for key in keys]
        if not all(key if isinstance(key, str) else type(key) is int and key >= 0 for key in path):
            return None
        text = node.reference.text + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
        whole = (*node.reference.path, *map(str, path))
        return Reference(f"${{{text}}}", text, node.reference.base, whole)

    def _select(self, node: cel.Select) -> object:
        if (reference := self._further(node)) is not None:
            return self._resolve(reference)
        value = self.value(node.of)
        if isinstance(value, dict):
            if node.key in value:
                return value[node.key]
            raise ParameterError(f"{self._words(node)}: there is no '{node.key}'{_which(value)}")
        if isinstance(value, list) and node.key.isdigit():
            return self._item(node, value, int(node.key))
        raise Unfit(f"{self._words(node)}: {kind(value)} has no '{node.key}'")

    def _index(self, node: cel.Index) -> object:
        if (reference := self._further(node)) is not None:
            return self._resolve(reference)
        value, key = self.value(node.of), self.value(node.key)
        if isinstance(value, dict):
            if isinstance(key, str) and key in value:
                return value[key]
            raise ParameterError(f"{self._words(node)}: there is no {as_text(key)!r}{_which(value)}")
        if isinstance(value, list):
            if isinstance(key, float) and key.is_integer():
                key = int(key)
            if isinstance(key, int) and not isinstance(key, bool):
                return self._item(node, value, key)
            raise Unfit(f"{self._words(node)}: a list is counted from 0, not by {kind(key)}")
        raise Unfit(f"{self._words(node)}: {kind(value)} has no parts")

    def _item(self, node: cel.Node, value: list[Any], index: int) -> object:
        if 0 <= index < len(value):
            return value[index]
        raise ParameterError(f"{self._words(node)}: there is no {index} (it is a list of {len(value)})")

    def _has(self, node: cel.Has) -> object:
        try:
            # What is no map has no key: of a list's items one may be an error, another a number.
            inner = node.of
            if (
                isinstance(inner, cel.Select)
                and not self._further(inner)
                and not isinstance(self.value(inner.of), dict | list)
            ):
                return False
            return self.value(node.of) is not None
        except Unfit:
            raise
        except ParameterError:
            return False

    def _call(self, node: cel.Call) -> object:
        found = FUNCTIONS.get(node.name)
        if found is None:
            raise Unfit(f"{self._words(node)}: there is no function '{node.name}'")
        function, least, most = found
        if not least <= len(node.arguments) <= most:
            raise Unfit(f"{self._words(node)}: {node.name}() does not take {len(node.arguments)} values")
        arguments = [self.value(argument) for argument in node.arguments]
        for argument in arguments:
            if isinstance(argument, str | list | dict):
                self._sized(argument)
        try:
            result = function(*arguments)
        except (TypeError, ValueError, OverflowError) as error:
            known = isinstance(error, ValueError) and error.args and "invalid literal" not in str(error)
            why = str(error) if known else f"not for {', '.join(kind(one) for one in arguments)}"
            raise Unfit(f"{self._words(node)}: {node.name}(): {why}") from None
        return self._sized(result) if isinstance(result, str | list) else self._number(node, result)

    def _macro(self, node: cel.Macro) -> object:
        over = self.value(node.of)
        if not isinstance(over, list | dict):
            raise Unfit(f"{self._words(node)}: {node.name}() goes through a list or a map, not {kind(over)}")
        outer = self._locals
        try:
            return _MACROS[node.name](self, node, list(over), outer)
        finally:
            self._locals = outer

    def _for(self, node: cel.Macro, item: object, outer: dict[str, object]) -> None:
        self._locals = {**outer, node.variable: item}

    def _all(self, node: cel.Macro, items: list[Any], outer: dict[str, object]) -> object:
        return not self._any(node, items, outer, wanted=False)

    def _exists(self, node: cel.Macro, items: list[Any], outer: dict[str, object]) -> object:
        return self._any(node, items, outer, wanted=True)

    def _any(self, node: cel.Macro, items: list[Any], outer: dict[str, object], *, wanted: bool) -> bool:
        error: ParameterError | None = None
        for item in items:
            self._for(node, item, outer)
            try:
                if self.truth(node.body) is wanted:
                    return True
            except ParameterError as found:
                self._spend(0)
                error = found
        if error is not None:
            raise error
        return False

    def _exists_one(self, node: cel.Macro, items: list[Any], outer: dict[str, object]) -> object:
        return len(self._filter(node, items, outer)) == 1

    def _filter(self, node: cel.Macro, items: list[Any], outer: dict[str, object]) -> list[Any]:
        kept = []
        for item in items:
            self._for(node, item, outer)
            if self.truth(node.body):
                kept.append(item)
        return kept

    def _map(self, node: cel.Macro, items: list[Any], outer: dict[str, object]) -> list[Any]:
        made = []
        for item in items:
            self._for(node, item, outer)
            if node.test is None or self.truth(node.test):
                made.append(self.value(node.body))
        return made

    def _unary(self, node: cel.Unary) -> object:
        if node.operator == "!":
            return not self.truth(node.operand)
        value = self.value(node.operand)
        if not is_number(value):
            raise Unfit(f"{self._words(node)}: '-' is not for {kind(value)}")
        return self._number(node, -value)

    def _binary(self, node: cel.Binary) -> object:
        left, right = self.value(node.left), self.value(node.right)
        match node.operator:
            case "==":
                return equal(left, right)
            case "!=":
                return not equal(left, right)
            case "in":
                return self._contains(node, left, right)
            case "not in":
                return not self._contains(node, left, right)
            case "<" | "<=" | ">" | ">=":
                return self._compare(node, left, right)
        return self._calculate(node, left, right)

    def _contains(self, node: cel.Binary, item: object, within: Any) -> bool:
        if isinstance(within, list):
            self._sized(within)
            return any(equal(item, one) for one in within)
        if isinstance(within, dict):
            return isinstance(item, str) and item in within
        if isinstance(within, str) and isinstance(item, str):
            return item in self._sized(within)
        self._unfit(node, node.operator, item, within)

    def _compare(self, node: cel.Binary, left: Any, right: Any) -> bool:
        alike = (is_number(left) and is_number(right)) or (isinstance(left, str) and isinstance(right, str))
        alike = alike or (type(left) is type(right) and cel_times.is_time(left))
        if not alike and not (isinstance(left, bool) and isinstance(right, bool)):
            self._unfit(node, node.operator, left, right)
        match node.operator:
            case "<":
                return bool(left < right)
            case "<=":
                return bool(left <= right)
            case ">":
                return bool(left > right)
        return bool(left >= right)

    def _calculate(self, node: cel.Binary, left: Any, right: Any) -> object:
        operator = node.operator
        if operator == "+" and type(left) is type(right) and isinstance(left, str | list):
            self._sized(left)
            return left + self._sized(right)
        if cel_times.is_time(left) or cel_times.is_time(right):
            try:
                return cel_times.calculate(operator, left, right)
            except TypeError:
                self._unfit(node, operator, left, right)
            except OverflowError:
                raise Unfit(f"{self._words(node)}: there is no such time") from None
        if not is_number(left) or not is_number(right):
            hint = (
                "; string(…) makes a text of a number" if operator == "+" and {type(left), type(right)} & {str} else ""
            )
            raise Unfit(f"{self._words(node)}: '{operator}' is not for {kind(left)} and {kind(right)}{hint}")
        if operator in "/%" and right == 0:
            raise Unfit(f"{self._words(node)}: division by 0")
        try:
            return self._number(node, _ARITHMETIC[operator](left, right))
        except OverflowError:
            raise Unfit(f"{self._words(node)}: the number is too large") from None

    def _number(self, node: cel.Node, value: Any) -> Any:
        if isinstance(value, int) and not -_MOST <= value < _MOST:
            raise Unfit(f"{self._words(node)}: the number has more than 64 bits")
        if isinstance(value, float) and not math.isfinite(value):
            raise Unfit(f"{self._words(node)}: the number is too large")
        return value

    def _logic(self, node: cel.Logic) -> object:
        if node.operator == "||" and self._gives_default:
            return self._first(node)
        decisive = node.operator == "||"
        error: ParameterError | None = None
        for operand in node.operands:
            try:
                if self.truth(operand) is decisive:
                    return decisive
            except ParameterError as found:
                self._spend(0)
                error = error or found
        if error is not None:
            raise error
        return not decisive

    def _first(self, node: cel.Logic) -> object:
        for operand in node.operands[:-1]:
            try:
                value = self.value(operand)
            except Unfit:
                raise
            except ParameterError:
                continue
            if value is not None and value is not False and value != "":
                return value
        return self.value(node.operands[-1])

    def _choice(self, node: cel.Choice) -> object:
        return self.value(node.then if self.truth(node.condition) else node.otherwise)

    def _list(self, node: cel.ListOf) -> object:
        return [self.value(item) for item in node.items]

    def _mapping(self, node: cel.MapOf) -> object:
        made = {}
        for key, value in node.pairs:
            name = self.value(key)
            if not isinstance(name, str):
                raise Unfit(f"{self._words(key)} is {kind(name)}; the key of a map is a text")
            made[name] = self.value(value)
        return made


_EVALUATE: dict[type, Callable[[Evaluation, Any], object]] = {
    cel.Literal: Evaluation._literal,
    cel.Template: Evaluation._template,
    cel.Chain: Evaluation._chain,
    cel.Braced: Evaluation._braced,
    cel.Local: Evaluation._local,
    cel.Select: Evaluation._select,
    cel.Index: Evaluation._index,
    cel.Call: Evaluation._call,
    cel.Has: Evaluation._has,
    cel.Macro: Evaluation._macro,
    cel.Unary: Evaluation._unary,
    cel.Binary: Evaluation._binary,
    cel.Logic: Evaluation._logic,
    cel.Choice: Evaluation._choice,
    cel.ListOf: Evaluation._list,
    cel.MapOf: Evaluation._mapping,
}
_MACROS: dict[str, Callable[[Evaluation, cel.Macro, list[Any], dict[str, object]], object]] = {
    "all": Evaluation._all,
    "exists": Evaluation._exists,
    "exists_one": Evaluation._exists_one,
    "filter": Evaluation._filter,
    "map": Evaluation._map,
}


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def kind(value: object) -> str:
    """`a number`, as a person says it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "a map"
        case datetime():
            return "a time"
        case timedelta():
            return "a length of time"
    return "a value"


def _which(value: dict[str, Any]) -> str:
    keys = ", ".join(list(value)[:20])
    return f" (there are: {keys}{', …' if len(value) > 20 else ''})" if keys else " (there is nothing)"


def equal(left: object, right: object) -> bool:
    """1 and 1.0 are equal, 1 and true are not. Needs no call stack: depth is no matter."""
    stack = [(left, right)]
    while stack:
        one, other = stack.pop()
        if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            stack.extend(zip(one, other, strict=True))
        elif isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
            stack.extend((value, other[key]) for key, value in one.items())
        elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
            return False
    return True


def _divide(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    return left / right


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        return left - right * _divide(left, right)
    return math.fmod(left, right)


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divide,
    "%": _modulo,
}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _size(value: Any) -> int:
    return len(value)


def _int(value: Any) -> int:
    if isinstance(value, datetime):
        return int(value.timestamp())
    return int(value.strip()) if isinstance(value, str) else int(value)


def _double(value: Any) -> float:
    return float(value.strip()) if isinstance(value, str) else float(value)


def _string(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return as_text(cel_times.plain(value))


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(f"{as_text(value)!r} is neither true nor false")


def _type(value: object) -> str:
    names: dict[type, str] = {bool: "bool", int: "int", float: "double", str: "string", list: "list", dict: "map"}
    names |= {datetime: "google.protobuf.Timestamp", timedelta: "google.protobuf.Duration"}
    return names.get(type(value), "null_type")


@lru_cache(maxsize=256)
def _pattern(text: str) -> Any:
    """By the linear-time engine of the schemas: a pattern of a stranger must not cost more than the text is long."""
    try:
        return jsonschema_rs.validator_for(
            {"pattern": text}, offline=True, pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20)
        )
    except jsonschema_rs.ValidationError:
        return None


def _matches(text: str, pattern: str) -> bool:
    if len(_text(pattern)) > LONGEST_PATTERN:
        raise ValueError(f"a pattern of {len(pattern)} characters; {LONGEST_PATTERN} are allowed")
    compiled = _pattern(pattern)
    if compiled is None:
        raise ValueError(f"{pattern!r} is no regular expression")
    return bool(compiled.is_valid(_text(text)))


def _contains(whole: str | list[Any], part: Any) -> bool:
    return any(equal(part, one) for one in whole) if isinstance(whole, list) else _text(part) in _text(whole)


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(_text(text)):
        raise ValueError(f"there is nothing from {start} to {stop} in a text of {len(text)}")
    return text[start:stop]


def _replace(text: str, old: str, new: str) -> str:
    if _text(text).count(_text(old)) * len(_text(new)) > 100 * STEPS:
        raise ValueError("the text becomes too long")
    return text.replace(old, new)


def _join(items: list[Any], separator: str = "") -> str:
    return _text(separator).join(_string(item) for item in items)


def _round(value: float) -> int:
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def _numbers(values: tuple[Any, ...]) -> list[Any]:
    numbers = values[0] if len(values) == 1 and isinstance(values[0], list) else list(values)
    if not numbers or not all(map(is_number, numbers)):
        raise TypeError
    return numbers


FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int, int]]] = {
    "size": (_size, 1, 1),
    "contains": (_contains, 2, 2),
    "startsWith": (lambda text, part: _text(text).startswith(_text(part)), 2, 2),
    "endsWith": (lambda text, part: _text(text).endswith(_text(part)), 2, 2),
    "matches": (_matches, 2, 2),
    "int": (_int, 1, 1),
    "double": (_double, 1, 1),
    "string": (_string, 1, 1),
    "bool": (_bool, 1, 1),
    "type": (_type, 1, 1),
    "lowerAscii": (lambda text: _text(text).lower(), 1, 1),
    "upperAscii": (lambda text: _text(text).upper(), 1, 1),
    "trim": (lambda text: _text(text).strip(), 1, 1),
    "split": (lambda text, part: _text(text).split(_text(part)), 2, 2),
    "join": (_join, 1, 2),
    "replace": (_replace, 3, 3),
    "substring": (_substring, 2, 3),
    "indexOf": (lambda text, part: _text(text).find(_text(part)), 2, 2),
    "greatest": (lambda *values: max(_numbers(values)), 1, 100),
    "least": (lambda *values: min(_numbers(values)), 1, 100),
    "abs": (abs, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "floor": (math.floor, 1, 1),
    "round": (_round, 1, 1),
    **cel_times.FUNCTIONS,
}
"""name -> function, least and most values; `text.contains(part)` is `contains(text, part)`."""
