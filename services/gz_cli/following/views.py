"""How the story of a workflow is shown while it is told: a live tree, plain lines, or not at all."""

import sys
from collections.abc import Collection
from typing import Protocol

import msgspec

from gleitzeit.client.watch import ConnectionItem, LogItem, ProgressItem, StreamItem, WatchEvent, WatchItem
from gleitzeit.model.events import WorkflowSubmitted
from gz_cli.drawing.layout import Item, layout
from gz_cli.following.lines import event_line, remark_line, task_text
from gz_cli.following.progress import WorkflowProgress
from gz_cli.following.tree import picture
from gz_cli.terminal.durations import now_ms
from gz_cli.terminal.ink import Ink, Span
from gz_cli.terminal.screen import Screen, has_colour, is_live
from gz_cli.terminal.talk import put, say

COLLAPSE_ABOVE = 6
STREAM_TAIL = 60
"""Characters of a running text that are shown beside its task."""
TEXT_LINES = 8
TEXT_TAIL = 2_000
"""Characters of a running text that may be shown below the tree, in so many lines."""
MARGIN = "  │ "
MOST_COUNTED = 10_000
"""A progress of more than that is bytes, or so: its share is told, not its number."""


class View(Protocol):
    """Enter it, `show` each item after `progress` has applied it, `tick` about ten times a second. `remark` is for what
    no item says and everybody has to know, also who wanted silence."""

    def __enter__(self) -> "View": ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, item: WatchItem) -> None: ...

    def tick(self) -> None: ...

    def remark(self, text: str) -> None: ...


def choose(progress: WorkflowProgress, *, quiet: bool = False, lines: bool = False) -> View:
    """A tree on a terminal, else `lines`; on stderr, because the result is what stdout is for."""
    if quiet:
        return Silence()
    ink = Ink(colour=has_colour(sys.stderr))
    if is_live(sys.stderr) and not lines:
        return Tree(progress, Screen(sys.stderr, ink))
    return Lines(progress, ink)


class Silence:
    def __enter__(self) -> "Silence":
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, item: WatchItem) -> None: ...

    def tick(self) -> None: ...

    def remark(self, text: str) -> None:
        say(text)


class Only:
    """Of what another view shows, events of some types alone."""

    def __init__(self, view: View, types: Collection[str]) -> None:
        self._view = view
        self._types = types

    def __enter__(self) -> "Only":
        self._view.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._view.__exit__(*error)

    def show(self, item: WatchItem) -> None:
        if isinstance(item, ConnectionItem) or (
            isinstance(item, WatchEvent) and type(item.event).__name__ in self._types
        ):
            self._view.show(item)

    def tick(self) -> None:
        self._view.tick()

    def remark(self, text: str) -> None:
        self._view.remark(text)


class JsonLines:
    """For programs: every event as one line of JSON on stdout."""

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, item: WatchItem) -> None:
        if isinstance(item, WatchEvent):
            put(msgspec.json.encode(item).decode())

    def tick(self) -> None: ...

    def remark(self, text: str) -> None:
        say(text)


class Lines:
    """A line for what happened, when it happened."""

    def __init__(self, progress: WorkflowProgress, ink: Ink) -> None:
        self._progress = progress
        self._ink = ink

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, item: WatchItem) -> None:
        for line in _words(self._progress, item):
            print(self._ink.line(line), file=sys.stderr, flush=True)

    def tick(self) -> None: ...

    def remark(self, text: str) -> None:
        print(self._ink.line(remark_line(text, now_ms())), file=sys.stderr, flush=True)


class Tree:
    """The whole workflow, drawn again in place."""

    def __init__(self, progress: WorkflowProgress, screen: Screen) -> None:
        self._progress = progress
        self._screen = screen
        self._roots: list[Item] = []
        self._frame = 0
        self._texts: dict[str, tuple[int, str]] = {}
        """The last part of what each task writes, and the attempt that it is of."""
        self._writing = ""
        """The task that wrote last."""

    def __enter__(self) -> "Tree":
        self._screen.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._draw()
        self._screen.__exit__()

    def show(self, item: WatchItem) -> None:
        match item:
            case WatchEvent(event=WorkflowSubmitted()):  # `progress` knows all tasks now
                self._roots = layout(self._progress.nodes(), collapse_above=COLLAPSE_ABOVE)
            case StreamItem():
                self._hear(item)
            case ProgressItem():
                self._progress.note(item.task_id, progress_words(item))
            case LogItem() | ConnectionItem():
                for line in _words(self._progress, item):
                    self._screen.say(line)

    def tick(self) -> None:
        self._frame += 1
        self._draw()

    def remark(self, text: str) -> None:
        self._screen.say(remark_line(text, now_ms()))
        self._draw()

    def _hear(self, item: StreamItem) -> None:
        attempt, text = self._texts.get(item.task_id, (item.attempt, ""))
        text = text if attempt == item.attempt else ""  # a new attempt voids the text of the one before
        text += ("…" if item.gap else "") + item.delta
        self._texts[item.task_id] = item.attempt, text[-TEXT_TAIL:]
        self._writing = item.task_id
        self._progress.note(item.task_id, text.replace("\n", " ")[-STREAM_TAIL:])

    def _draw(self) -> None:
        if not self._progress.tasks:
            return
        height = self._screen.height
        text = self._text(min(TEXT_LINES, height // 3))
        tree = picture(self._progress, self._roots, now_ms=now_ms(), height=height - len(text), frame=self._frame)
        self._screen.draw([*tree, *text])

    def _text(self, lines: int) -> list[list[Span]]:
        """The end of what is being written, below the tree."""
        task = self._progress.tasks.get(self._writing)
        if task is None or task.status != "running":
            return []
        _, text = self._texts[self._writing]
        width = max(1, self._screen.width - len(MARGIN))
        rows = [line[at : at + width] for line in text.split("\n") for at in range(0, len(line) or 1, width)]
        return [[(MARGIN, "dim"), (row, "")] for row in rows[-lines:]] if lines else []


def progress_words(item: ProgressItem) -> str:
    """`3/10 loading`, as far as it is known; `30 % pulling` of what nobody counts."""
    amount = ""
    if item.total and item.total > MOST_COUNTED:
        amount = f"{item.progress / item.total:.0%}".replace("%", " %")
    elif item.total:
        amount = f"{item.progress:g}/{item.total:g}"
    return " ".join(part for part in (amount, item.message) if part)


def _words(progress: WorkflowProgress, item: WatchItem) -> list[list[Span]]:
    """A line each; what a script has printed at once may be several."""
    match item:
        case WatchEvent():
            line = event_line(progress, item.event)
            return [line] if line is not None else []
        case LogItem():
            text = item.data if isinstance(item.data, str) else repr(item.data)
            return [task_text(progress, item.task_id, line, now_ms()) for line in text.splitlines() or [text]]
        case ConnectionItem(connected=False):
            return [[(f"the coordinator is out of reach ({item.message}); trying again", "yellow")]]
        case ConnectionItem():
            return [[("the coordinator is back", "green")]]
        case _:
            return []
