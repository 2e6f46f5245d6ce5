"""A value out of a stream of steps (one a token that matters), within bounds, with the place of each part."""

from collections.abc import Iterable
from typing import Any, Final

from gleitzeit.spec.problems import LIMIT_PROBLEMS, Path, Place, Problem

LIMIT_DEPTH: Final = 64
LIMIT_NODES: Final = 2_000_000
LIMIT_ALIASES: Final = 1_000


class OutOfBounds(Exception):
    """The value cannot be built; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Step:
    """One token: `scalar` (with `value`, and `text` as written), `map`, `list`, `end`, `alias` (of `text`), `document`.

    Lines and columns count from 1.
    """

    __slots__ = ("anchor", "bad_tag", "column", "end_line", "kind", "line", "literal", "plain", "text", "value")

    def __init__(self, line: int, column: int, end_line: int, kind: str = "") -> None:
        self.line = line
        self.column = column
        self.end_line = end_line
        self.kind = kind
        self.text = ""
        self.value: object = None
        self.anchor: str | None = None
        self.bad_tag = ""
        self.plain = False
        self.literal = False


class _Frame:
    """A map or list that is open. `key` is the one whose value comes next; a map without one waits for a key."""

    __slots__ = ("anchor", "container", "deepest", "key", "key_at", "merge_at", "merges", "nodes", "seen")

    def __init__(self, container: Any, anchor: str | None) -> None:
        self.container = container
        self.anchor = anchor
        self.key: str | int | None = 0 if isinstance(container, list) else None
        self.key_at: tuple[int, int] | None = None
        self.merges: list[object] = []
        self.merge_at = (0, 0)
        self.seen: dict[str, int] = {}
        self.nodes = 1
        self.deepest = 1


_MERGE: Final = "<<"


class Builder:
    """Builds one value. `problems` are what was wrong on the way (duplicate keys, tags); bounds raise OutOfBounds.

    With `wanted`, the places of those paths are put into `found`.
    """

    def __init__(self, *, wanted: set[Path] | None = None, found: dict[Path, Place] | None = None) -> None:
        self.problems: list[Problem] = []
        self._wanted = wanted
        self._found = found if found is not None else {}
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[object, int, int]] = {}
        self._nodes = 0
        self._aliases = 0
        self._documents = 0
        self._value: object = None

    def build(self, steps: Iterable[Step]) -> object:
        for step in steps:
            match step.kind:
                case "scalar":
                    self._scalar(step)
                case "map" | "list":
                    self._open(step)
                case "end":
                    self._close()
                case "alias":
                    self._alias(step)
                case "document":
                    self._document(step)
        return self._value

    def _document(self, step: Step) -> None:
        self._documents += 1
        if self._documents > 1:
            raise self._refused(step, "a second document begins here; a file holds one")

    def _scalar(self, step: Step) -> None:
        self._check_tag(step)
        self._count(1, step)
        frame = self._frames[-1] if self._frames else None
        if frame is not None and frame.key is None:
            self._take_key(frame, step)
            return
        self._note(step)
        if step.anchor:
            self._anchors[step.anchor] = (step.value, 1, 0)
        self._add(step.value)

    def _take_key(self, frame: _Frame, step: Step) -> None:
        """Keys are texts, as in JSON: `1:` is the key "1"."""
        key = step.text
        frame.key, frame.key_at = key, (step.line, step.column)
        if step.plain and key == _MERGE:
            frame.merges.append(None)  # the place for its value
            frame.merge_at = frame.key_at
        elif key in frame.seen:
            self._problem(step, f"key '{key}' is there twice; the first is in line {frame.seen[key]}")
        else:
            frame.seen[key] = step.line

    def _open(self, step: Step) -> None:
        frame = self._frames[-1] if self._frames else None
        if frame is not None and frame.key is None:
            braces = "; a text that begins with {{ needs quotes" if step.kind == "map" else ""
            raise self._refused(step, f"a key must be a text{braces}")
        self._check_tag(step)
        self._count(1, step)
        if len(self._frames) >= LIMIT_DEPTH:
            raise self._refused(step, f"nested deeper than {LIMIT_DEPTH}")
        self._note(step)
        container: object = {} if step.kind == "map" else []
        self._frames.append(_Frame(container, step.anchor))

    def _close(self) -> None:
        frame = self._frames.pop()
        for value in frame.merges:
            self._merge(frame, value)
        if frame.anchor:
            self._anchors[frame.anchor] = (frame.container, frame.nodes, frame.deepest)
        if self._frames:
            outer = self._frames[-1]
            outer.nodes += frame.nodes
            outer.deepest = max(outer.deepest, frame.deepest + 1)
        self._add(frame.container)

    def _alias(self, step: Step) -> None:
        self._aliases += 1
        if self._aliases > LIMIT_ALIASES:
            raise self._refused(step, f"more than {LIMIT_ALIASES} aliases")
        if step.text not in self._anchors:
            raise self._refused(step, f"alias '*{step.text}' refers to nothing that is complete before it")
        value, nodes, deepest = self._anchors[step.text]
        self._count(nodes, step)
        if len(self._frames) + deepest > LIMIT_DEPTH:
            raise self._refused(step, f"nested deeper than {LIMIT_DEPTH}")
        if self._frames:
            frame = self._frames[-1]
            if frame.key is None:
                raise self._refused(step, "a key must be a text")
            frame.deepest = max(frame.deepest, deepest + 1)
        self._note(step)
        self._add(value)

    def _add(self, value: object) -> None:
        if not self._frames:
            self._value = value
            return
        frame = self._frames[-1]
        if isinstance(frame.container, list):
            frame.container.append(value)
            frame.key = len(frame.container)
            return
        if frame.key == _MERGE and frame.merges and frame.merges[-1] is None:
            frame.merges[-1] = value if value is not None else ()
        else:
            frame.container[frame.key] = value
        frame.key = None

    def _merge(self, frame: _Frame, value: object) -> None:
        """`<<: *defaults`, or a list of them: what the map itself does not say; earlier ones of the list first."""
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, dict):
                line, column = frame.merge_at
                self.problems.append(Problem((), "'<<' needs a map or a list of maps", line=line, column=column))
                return
            for key, inner in source.items():
                if key not in frame.container:
                    frame.container[key] = inner
                    self._note_merged((*self._path(), key), frame.merge_at)

    def _check_tag(self, step: Step) -> None:
        if step.bad_tag:
            self._problem(step, f"tag '{step.bad_tag.replace('tag:yaml.org,2002:', '!!')}' has no meaning here")

    def _count(self, nodes: int, step: Step) -> None:
        self._nodes += nodes
        if self._frames:
            self._frames[-1].nodes += nodes
        if self._nodes > LIMIT_NODES:
            raise self._refused(step, f"more than {LIMIT_NODES} values, aliases counted as what they stand for")

    def _note(self, step: Step) -> None:
        """The place of the value that begins here, if somebody wants it."""
        if self._wanted is None:
            return
        path = self._path()
        if path in self._wanted:  # of a key that is there twice the last one counts, here and in the value
            frame = self._frames[-1] if self._frames else None
            key_at = frame.key_at if frame is not None and frame.key_at else (step.line, step.column)
            self._found[path] = Place(step.line, step.column, step.end_line, *key_at, step.literal)

    def _note_merged(self, path: Path, merge_at: tuple[int, int]) -> None:
        """What a map has by `<<` is looked for there."""
        if self._wanted is not None and path in self._wanted:
            line, column = merge_at
            self._found[path] = Place(line, column, line, line, column)

    def _path(self) -> Path:
        return tuple(frame.key for frame in self._frames if frame.key is not None)

    def _problem(self, step: Step, message: str) -> None:
        if len(self.problems) < LIMIT_PROBLEMS:
            self.problems.append(Problem(self._path(), message, line=step.line, column=step.column))

    def _refused(self, step: Step, message: str) -> OutOfBounds:
        return OutOfBounds(Problem(self._path(), message, line=step.line, column=step.column))
