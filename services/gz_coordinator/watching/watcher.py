"""One who watches, and how far they have been told."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gleitzeit.transport import Connection
from gz_coordinator.watching.lines import Line
from gz_coordinator.watching.notices import EVENT, LINE, STREAM, stream_params
from gz_coordinator.watching.texts import Text

MAX_LAG_BYTES = 1 << 20


class Position(Struct, frozen=True):
    """How much of a task's text a watcher has: `offset` characters of that `attempt` (0: of the one that runs)."""

    offset: int = 0
    attempt: int = 0


def positions(streams: Mapping[str, Any] | None) -> dict[str, Position]:
    """`streams` of `workflow.watch`: of each task a number of characters, or `{attempt, offset}`."""
    return {task: _position(at if isinstance(at, dict) else {"offset": at}) for task, at in (streams or {}).items()}


def _position(known: dict[str, float]) -> Position:
    return Position(**{name: int(number) for name, number in known.items()})  # 2.0 is a whole number, too


class Watcher:
    """One `workflow.watch` of one connection: of one workflow, or with `workflow_id` None of all."""

    def __init__(
        self,
        connection: Connection,
        workflow_id: str | None,
        sent: int,
        *,
        stream: bool,
        has: Mapping[str, Position] | None = None,
    ) -> None:
        """`has` is what it has of texts, by task id."""
        self.connection = connection
        self.workflow_id = workflow_id
        self.stream = stream
        self.sent = sent
        """The last number sent (of its one workflow)."""
        self.live = workflow_id is None
        """Has everything before, and takes what comes."""
        self.lagging = False
        self.texts_ended = 0
        """How many texts had ended when it began to watch."""
        self._after = sent
        self.line = 0
        """The number of the last line that it has, or that it does not ask for."""
        self.behind: dict[str, Text] = {}
        """Texts of which it lacks something that its socket had no room for, by call id."""
        self._has = dict(has or {})
        self._positions: dict[str, int] = {}
        """How many characters of each running call's text it has, or was told that they are gone; by call id."""

    @property
    def full(self) -> bool:
        return self.connection.buffered_bytes > MAX_LAG_BYTES

    def lacks_end_of(self, text: Text) -> bool:
        """Whether it misses what is kept of a text that has ended: it has a part, or had seen its task begin, or came
        before it ended."""
        if (had := self._has.get(text.task_id)) is not None and had.attempt == text.attempt:
            return True
        return self.sent < text.ended_at and (text.began_at <= self._after or text.number > self.texts_ended)

    def position(self, text: Text) -> int:
        at = self._positions.get(text.call_id)
        if at is None:
            had = self._has.pop(text.task_id, Position())
            at = self._positions[text.call_id] = had.offset if had.attempt in (0, text.attempt) else 0
        return at

    def send_text(self, text: Text, offset: int, delta: str, *, gap: bool = False) -> None:
        self.connection.notify(STREAM, stream_params(text, offset, delta, gap=gap))
        self._positions[text.call_id] = offset + len(delta)

    def passed(self, text: Text) -> None:
        """It was sent up to the end of the text by other means."""
        self._positions[text.call_id] = text.end

    def forget(self, text: Text) -> None:
        self._positions.pop(text.call_id, None)

    def send_line(self, line: Line) -> None:
        self.connection.notify(LINE, line.params)
        self.line = line.number

    def send(self, seq: int, params: bytes) -> None:
        if not self.connection.closed and not self.lagging:
            self.connection.notify(EVENT, params)
            self.sent = seq
            self.lagging = self.full
