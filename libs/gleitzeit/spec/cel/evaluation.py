"""CEL evaluated: a tree and what its references stand for -> a value of JSON.

As in CEL: no value is a truth value but true and false (and null, which counts as false); `&&` and `||` do not mind a
part that cannot be evaluated if another decides; whole numbers have 64 bits, and `/` of two of them rounds towards 0.
Unlike it: whole numbers and fractions mix.
"""

import math
from collections.abc import Callable
from typing import Any, Final, NoReturn

from gleitzeit.errors import ParameterError
from gleitzeit.spec.cel import times, tree
from gleitzeit.spec.cel.functions import FUNCTIONS
from gleitzeit.spec.cel.values import ARITHMETIC, equal, is_number, kind
from gleitzeit.spec.references.references import Reference, as_text

STEPS: Final = 100_000
"""Of one evaluation: about a twentieth of a second. Long texts and lists take one for a hundred of what they have."""
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

    def value(self, node: tree.Node) -> Any:
        """Raises ParameterError: from `resolve`, or Unfit."""
        self._spend(1)
        return _EVALUATE[type(node)](self, node)

    def truth(self, node: tree.Node) -> bool:
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

    def _words(self, node: tree.Node) -> str:
        return f"'{self._text[node.start : node.end]}'"

    def _unfit(self, node: tree.Node, operator: str, left: object, right: object) -> NoReturn:
        raise Unfit(f"{self._words(node)}: '{operator}' is not for {kind(left)} and {kind(right)}")

    # Nodes

    def _literal(self, node: tree.Literal) -> object:
        return node.value

    def _template(self, node: tree.Template) -> object:
        parts = (part if isinstance(part, str) else as_text(self._resolve(part)) for part in node.parts)
        return self._sized("".join(parts))

    def _chain(self, node: tree.Chain) -> object:
        return self._resolve(node.reference)

    def _braced(self, node: tree.Braced) -> object:
        return self.value(node.inner)

    def _local(self, node: tree.Local) -> object:
        return self._locals[node.name]

    def _further(self, node: tree.Node) -> Reference | None:
        """`a[i].b` is one reference, with all that is special in them, once it is known what `i` is."""
        steps: list[str | tree.Node] = []
        while isinstance(node, tree.Select | tree.Index):
            steps.append(node.key)
            node = node.of
        if not isinstance(node, tree.Chain) or all(isinstance(step, str) for step in steps):
            return None
        keys = [step if isinstance(step, str) else self.value(step) for step in reversed(steps)]
        path = [int(key) if isinstance(key, float) and key.is_integer() else key for key in keys]
        if not all(key if isinstance(key, str) else type(key) is int and key >= 0 for key in path):
            return None
        text = node.reference.text + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
        whole = (*node.reference.path, *map(str, path))
        return Reference(f"${{{text}}}", text, node.reference.base, whole)

    def _select(self, node: tree.Select) -> object:
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

    def _index(self, node: tree.Index) -> object:
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

    def _item(self, node: tree.Node, value: list[Any], index: int) -> object:
        if 0 <= index < len(value):
            return value[index]
        raise ParameterError(f"{self._words(node)}: there is no {index} (it is a list of {len(value)})")

    def _has(self, node: tree.Has) -> object:
        try:
            # What is no map has no key: of a list's items one may be an error, another a number.
            inner = node.of
            if (
                isinstance(inner, tree.Select)
                and not self._further(inner)
                and not isinstance(self.value(inner.of), dict | list)
            ):
                return False
            return self.value(node.of) is not None
        except Unfit:
            raise
        except ParameterError:
            return False

    def _call(self, node: tree.Call) -> object:
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

    def _macro(self, node: tree.Macro) -> object:
        over = self.value(node.of)
        if not isinstance(over, list | dict):
            raise Unfit(f"{self._words(node)}: {node.name}() goes through a list or a map, not {kind(over)}")
        outer = self._locals
        try:
            return _MACROS[node.name](self, node, list(over), outer)
        finally:
            self._locals = outer

    def _for(self, node: tree.Macro, item: object, outer: dict[str, object]) -> None:
        self._locals = {**outer, node.variable: item}

    def _all(self, node: tree.Macro, items: list[Any], outer: dict[str, object]) -> object:
        return not self._any(node, items, outer, wanted=False)

    def _exists(self, node: tree.Macro, items: list[Any], outer: dict[str, object]) -> object:
        return self._any(node, items, outer, wanted=True)

    def _any(self, node: tree.Macro, items: list[Any], outer: dict[str, object], *, wanted: bool) -> bool:
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

    def _exists_one(self, node: tree.Macro, items: list[Any], outer: dict[str, object]) -> object:
        return len(self._filter(node, items, outer)) == 1

    def _filter(self, node: tree.Macro, items: list[Any], outer: dict[str, object]) -> list[Any]:
        kept = []
        for item in items:
            self._for(node, item, outer)
            if self.truth(node.body):
                kept.append(item)
        return kept

    def _map(self, node: tree.Macro, items: list[Any], outer: dict[str, object]) -> list[Any]:
        made = []
        for item in items:
            self._for(node, item, outer)
            if node.test is None or self.truth(node.test):
                made.append(self.value(node.body))
        return made

    def _unary(self, node: tree.Unary) -> object:
        if node.operator == "!":
            return not self.truth(node.operand)
        value = self.value(node.operand)
        if not is_number(value):
            raise Unfit(f"{self._words(node)}: '-' is not for {kind(value)}")
        return self._number(node, -value)

    def _binary(self, node: tree.Binary) -> object:
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

    def _contains(self, node: tree.Binary, item: object, within: Any) -> bool:
        if isinstance(within, list):
            self._sized(within)
            return any(equal(item, one) for one in within)
        if isinstance(within, dict):
            return isinstance(item, str) and item in within
        if isinstance(within, str) and isinstance(item, str):
            return item in self._sized(within)
        self._unfit(node, node.operator, item, within)

    def _compare(self, node: tree.Binary, left: Any, right: Any) -> bool:
        alike = (is_number(left) and is_number(right)) or (isinstance(left, str) and isinstance(right, str))
        alike = alike or (type(left) is type(right) and times.is_time(left))
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

    def _calculate(self, node: tree.Binary, left: Any, right: Any) -> object:
        operator = node.operator
        if operator == "+" and type(left) is type(right) and isinstance(left, str | list):
            self._sized(left)
            return left + self._sized(right)
        if times.is_time(left) or times.is_time(right):
            try:
                return times.calculate(operator, left, right)
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
            return self._number(node, ARITHMETIC[operator](left, right))
        except OverflowError:
            raise Unfit(f"{self._words(node)}: the number is too large") from None

    def _number(self, node: tree.Node, value: Any) -> Any:
        if isinstance(value, int) and not -_MOST <= value < _MOST:
            raise Unfit(f"{self._words(node)}: the number has more than 64 bits")
        if isinstance(value, float) and not math.isfinite(value):
            raise Unfit(f"{self._words(node)}: the number is too large")
        return value

    def _logic(self, node: tree.Logic) -> object:
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

    def _first(self, node: tree.Logic) -> object:
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

    def _choice(self, node: tree.Choice) -> object:
        return self.value(node.then if self.truth(node.condition) else node.otherwise)

    def _list(self, node: tree.ListOf) -> object:
        return [self.value(item) for item in node.items]

    def _mapping(self, node: tree.MapOf) -> object:
        made = {}
        for key, value in node.pairs:
            name = self.value(key)
            if not isinstance(name, str):
                raise Unfit(f"{self._words(key)} is {kind(name)}; the key of a map is a text")
            made[name] = self.value(value)
        return made


_EVALUATE: dict[type, Callable[[Evaluation, Any], object]] = {
    tree.Literal: Evaluation._literal,
    tree.Template: Evaluation._template,
    tree.Chain: Evaluation._chain,
    tree.Braced: Evaluation._braced,
    tree.Local: Evaluation._local,
    tree.Select: Evaluation._select,
    tree.Index: Evaluation._index,
    tree.Call: Evaluation._call,
    tree.Has: Evaluation._has,
    tree.Macro: Evaluation._macro,
    tree.Unary: Evaluation._unary,
    tree.Binary: Evaluation._binary,
    tree.Logic: Evaluation._logic,
    tree.Choice: Evaluation._choice,
    tree.ListOf: Evaluation._list,
    tree.MapOf: Evaluation._mapping,
}
_MACROS: dict[str, Callable[[Evaluation, tree.Macro, list[Any], dict[str, object]], object]] = {
    "all": Evaluation._all,
    "exists": Evaluation._exists,
    "exists_one": Evaluation._exists_one,
    "filter": Evaluation._filter,
    "map": Evaluation._map,
}


def _which(value: dict[str, Any]) -> str:
    keys = ", ".join(list(value)[:20])
    return f" (there are: {keys}{', …' if len(value) > 20 else ''})" if keys else " (there is nothing)"
