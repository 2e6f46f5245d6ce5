"""Problems as they are found, and the reading of single keys."""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from gleitzeit.schemas import near
from gleitzeit.spec.durations import parse_duration
from gleitzeit.spec.foreign import NOTHING, Foreign
from gleitzeit.spec.loading.scalars import whole_number
from gleitzeit.spec.problems import LIMIT_PROBLEMS, Path, Problem

T = TypeVar("T")

_LIMIT_SUGGESTIONS = 200
"""Looking for the near word among many is slow; after so many mistakes no single word helps."""


_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _as_ours(key: str) -> str:
    """`maxParallel` and `max-parallel` as `max_parallel`."""
    return _HUMP.sub("_", key).replace("-", "_").replace(" ", "_").lower()


def _unseen(key: str) -> str:
    """What a key has that looks like a space, or like nothing."""
    odd = next((char for char in key if char != " " and unicodedata.category(char) in ("Zs", "Cf")), "")
    name = unicodedata.name(odd, "") if odd else ""
    return f": it has a U+{ord(odd):04X} ({name.lower()}), where only a space can indent or divide" if odd else ""


class Findings:
    """All problems of one document."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._told = set[Problem]()
        self.has_errors = False
        self._left_out = 0
        self._suggested = 0

    def error(self, path: Path, message: str, suggestion: str = "", **where: Any) -> None:
        """`where`: at_key, needle, text_line, see, code of `Problem`."""
        self.has_errors = True
        self._add(path, message, suggestion, "error", where)

    def warning(self, path: Path, message: str, suggestion: str = "", **where: Any) -> None:
        """As `error`; the document is good all the same."""
        self._add(path, message, suggestion, "warning", where)

    def _add(
        self, path: Path, message: str, suggestion: str, severity: Literal["error", "warning"], where: dict[str, Any]
    ) -> None:
        problem = Problem(path, message, suggestion, severity, **where)
        if problem in self._told:
            return  # a key may be read for more than one purpose
        if len(self.problems) < LIMIT_PROBLEMS:
            self._told.add(problem)
            self.problems.append(problem)
        else:
            self._left_out += 1

    @contextmanager
    def no_repetition(self) -> Iterator[None]:
        """What is found within, and was found before with the same words in the same place, is left out."""
        known = len(self.problems)
        yield
        before = {(problem.path, problem.message) for problem in self.problems[:known]}
        self.problems[known:] = [p for p in self.problems[known:] if (p.path, p.message) not in before]

    def near(self, word: str, words: Collection[str]) -> str:
        """Which of `words` was probably meant; "" for none, and for the last of very many mistakes."""
        self._suggested += 1
        return near(word, words) if self._suggested <= _LIMIT_SUGGESTIONS else ""

    def listed(self) -> tuple[Problem, ...]:
        """All of them; beyond LIMIT_PROBLEMS one more says how many are left out."""
        if not self._left_out:
            return tuple(self.problems)
        severity: Literal["error", "warning"] = "error" if self.has_errors else "warning"
        rest = f"{self._left_out} more problems are not listed"
        return (*self.problems, Problem((), rest, severity=severity, more=self._left_out))


class Fields:
    """The keys of one map of the document, each read by its type. What is wrong is reported, and reads as absent.

    Absent and null are the same.
    """

    __slots__ = ("_meant", "findings", "path", "raw")

    def __init__(self, raw: Mapping[str, Any], path: Path, findings: Findings) -> None:
        self.raw = raw
        self.path = path
        self.findings = findings
        self._meant: set[str] | None = None
        """Keys that were mistyped, as far as one can guess."""

    def at(self, key: str) -> Path:
        return (*self.path, key)

    def wrong(self, key: str, message: str, suggestion: str = "") -> None:
        self.findings.error(self.at(key), message, suggestion)

    def check_keys(self, known: frozenset[str], what: str, foreign: Foreign = NOTHING) -> None:
        """Report keys that are not `known`. `x-…` is for the author. `foreign` says what is meant by keys that belong
        somewhere else."""
        for key in self.raw:
            if key in known or key.startswith("x-"):
                continue
            ours = _as_ours(key)
            meant = foreign.get(key) or foreign.get(ours) or (ours if ours in known else self.findings.near(key, known))
            hint, suggestion = ("", meant) if meant in known else (f": {meant}" if meant else "", "")
            message = f"{what} has no key '{key}'{_unseen(key) or hint}"
            self.findings.error(self.at(key), message, suggestion, at_key=True)
            self._meant = {suggestion, *(self._meant or ())}

    def mistyped(self, *keys: str) -> bool:
        """Whether a key that is not known was meant to be one of these: then it need not be missed as well."""
        return self._meant is not None and not self._meant.isdisjoint(keys)

    def attempted(self, *keys: str) -> bool:
        """Whether one of them is there, be it wrong or mistyped."""
        return self.mistyped(*keys) or any(self.raw.get(key) not in (None, "") for key in keys)

    def first(self, *keys: str) -> str | None:
        """The first of several spellings that is given."""
        return next((key for key in keys if self.raw.get(key) is not None), None)

    def text(self, key: str) -> str:
        """A number counts as the text that it is written as."""
        value = self.raw.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        self.wrong(key, f"'{key}' must be a text")
        return ""

    def flag(self, key: str) -> bool | None:
        """None if it is absent, or neither true nor false."""
        value = self.raw.get(key)
        if value is None or isinstance(value, bool):
            return value
        self.wrong(key, f"'{key}' must be true or false")
        return None

    def mapping(self, key: str) -> dict[str, Any]:
        """Empty if it is absent, or no map."""
        value = self.raw.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(key, f"'{key}' must be a map")
            return {}
        return value

    def texts(self, key: str) -> list[tuple[Path, str]]:
        """A list of texts, each with its path; one text alone is a list of one."""
        value = self.raw.get(key)
        if value is None:
            return []
        if isinstance(value, str):
            return [(self.at(key), value)]
        if not isinstance(value, list):
            self.wrong(key, f"'{key}' must be a list")
            return []
        found = []
        for index, one in enumerate(value):
            if isinstance(one, str):
                found.append(((*self.path, key, index), one))
            elif isinstance(one, int) and not isinstance(one, bool):
                found.append(((*self.path, key, index), str(one)))
            else:
                self.findings.error((*self.path, key, index), f"'{key}' must hold texts only")
        return found

    def converted(self, key: str, convert: Callable[[Any], T]) -> T | None:
        """By a function that raises ValueError in words for the author."""
        value = self.raw.get(key)
        if value is None:
            return None
        try:
            return convert(value)
        except ValueError as error:
            self.wrong(key, f"'{key}': {error}")
            return None

    def duration(self, key: str) -> float | None:
        """In seconds, more than 0."""
        seconds = self.converted(key, parse_duration)
        if seconds == 0:
            self.wrong(key, f"'{key}' must be longer than 0")
            return None
        return seconds

    def whole(self, key: str, least: int, most: int) -> int | None:
        """None if it is absent, or not from `least` to `most`; 3.0 is 3, as JSON does not tell them apart."""
        value = self.raw.get(key)
        if value is None:
            return None
        number = whole_number(value)
        if number is None or not least <= number <= most:
            self.wrong(key, f"'{key}' must be a whole number from {least} to {most}")
            return None
        return number

    def choice(self, key: str, options: Mapping[str, T]) -> T | None:
        """What `options` has for it, whatever its capitals."""
        value = self.raw.get(key)
        if value is None:
            return None
        if isinstance(value, str) and value.lower() in options:
            return options[value.lower()]
        suggestion = self.findings.near(value, options) if isinstance(value, str) else ""
        self.wrong(key, f"'{key}' must be one of {', '.join(options)}", suggestion)
        return None
