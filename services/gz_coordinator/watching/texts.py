"""What calls have streamed: the last part of each text, so that one who comes later can read it from there.

Offsets count characters (Unicode code points) from the beginning of the attempt's text. All of it is bounded: a text
to TEXT_BYTES, all texts together to ALL_BYTES, where the one that was silent for longest loses its beginning first.
What has ended is kept for ENDED_SECONDS, for who had lost the connection when it did: as long as our clients try to
come back.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from gleitzeit.engine.underway import Call

TEXT_BYTES = 1 << 20
ALL_BYTES = 64 << 20
ENDED_SECONDS = 60.0
ENDED_BYTES = 16 << 20
ENDED_COUNT = 10_000
PIECE_CHARACTERS = 4096
"""Small deltas are put together up to this size: it takes less room, and less time to read again."""


class Text:
    """Of one call. It has the characters from `start` up to `end`; `seq` is the provider's last number."""

    __slots__ = (
        "_call", "_pieces", "attempt", "began_at", "call_id", "end", "ended_at", "kept_until", "number", "seq",
        "size_bytes", "start", "task_id", "workflow_id",
    )  # fmt: skip

    def __init__(self, call: Call) -> None:
        self._call: Call | None = call
        self.workflow_id = call.workflow.id
        self.task_id = call.task.id
        self.attempt = call.attempt
        self.call_id = call.id
        self.began_at = call.workflow.seq
        """The number of the workflow's last event when it began."""
        self.ended_at = self.number = 0
        """Of one that has ended: the first event of which nobody had been told then, and how many had ended before."""
        self.kept_until = 0.0
        self.start = 0
        self.end = 0
        self.seq = 0
        self.size_bytes = 0
        self._pieces: deque[str] = deque()

    @property
    def current(self) -> bool:
        """Whether it may still grow."""
        return self._call is not None and self._call.current

    def let_go(self) -> None:
        """It has ended, and is no reason to keep its workflow in memory."""
        self._call = None

    def append(self, delta: str) -> int:
        """Returns how many bytes it takes now, more or (if the beginning was lost) less than before."""
        before = self.size_bytes
        if self._pieces and len(self._pieces[-1]) + len(delta) <= PIECE_CHARACTERS:
            self._pieces[-1] += delta
        else:
            self._pieces.extend(delta[at : at + PIECE_CHARACTERS] for at in range(0, len(delta), PIECE_CHARACTERS))
        self.end += len(delta)
        self.size_bytes += _bytes(delta)
        while self.size_bytes > TEXT_BYTES and self._pieces:
            self.drop_first()
        return self.size_bytes - before

    def skip_to(self, offset: int) -> int:
        """What lies before `offset` is not to be had. Returns how many bytes that freed."""
        freed = self.clear()
        self.start = self.end = max(offset, self.end)
        return freed

    def drop_first(self) -> int:
        """Lose the first piece. Returns its size in bytes."""
        piece = self._pieces.popleft()
        size_bytes = _bytes(piece)
        self.start += len(piece)
        self.size_bytes -= size_bytes
        return size_bytes

    def clear(self) -> int:
        """Keep nothing of it, only where it ends. Returns how many bytes that freed."""
        freed, self.size_bytes = self.size_bytes, 0
        self._pieces.clear()
        self.start = self.end
        return freed

    def from_offset(self, offset: int) -> Iterator[tuple[int, str]]:
        """The kept pieces from `offset` on, each with where it begins."""
        at = self.start
        for piece in list(self._pieces):
            if at + len(piece) > offset:
                cut = max(0, offset - at)
                yield at + cut, piece[cut:]
            at += len(piece)

    @property
    def empty(self) -> bool:
        return not self._pieces


class Texts:
    """Of all running calls, and of those that have ended lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._texts: OrderedDict[str, Text] = OrderedDict()
        """By call id; what was silent for longest comes first."""
        self._by_workflow: dict[str, dict[str, Text]] = {}
        self._size_bytes = 0
        self._ended: deque[Text] = deque()
        self._ended_by_workflow: dict[str, deque[Text]] = {}
        self._ended_bytes = 0
        self.ended = 0
        """How many have ended so far."""

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes + self._ended_bytes

    def seq_of(self, call_id: str) -> int:
        """The number of the last delta that came; a provider need only repeat what follows it."""
        text = self._texts.get(call_id)
        return text.seq if text is not None else 0

    def of_workflow(self, workflow_id: str | None) -> list[Text]:
        """None is all workflows."""
        return list((self._texts if workflow_id is None else self._by_workflow.get(workflow_id, {})).values())

    def add(self, call: Call, delta: str, seq: int | None, offset: int | None) -> tuple[Text, int] | None:
        """Take a delta of a running call: its text, and where the delta begins. None if it was there before, as after a
        reconnect. `offset` is what the provider says, who may have lost the beginning; `seq` None if it does not count.
        Ours count from 1. Those of others may count from 0; a 0 that comes again is no count."""
        text = self._texts.get(call.id)
        if text is None:
            text = self._texts[call.id] = Text(call)
            self._by_workflow.setdefault(call.workflow.id, {})[call.id] = text
            text.seq = 1 if seq is None else seq
        elif seq and seq <= text.seq:
            return None
        else:
            text.seq = seq or text.seq + 1
        if offset is not None and offset > text.end:
            self._size_bytes -= text.skip_to(offset)
        began = text.end
        self._size_bytes += text.append(delta)
        self._texts.move_to_end(call.id)
        self._shrink()
        return text, began

    def end(self, workflow_id: str, seq: int) -> list[Text]:
        """The texts of a workflow's calls that have ended, with the event of this number or a later one; they are kept
        for a while."""
        self._forget_ended()
        texts = self._by_workflow.get(workflow_id)
        if texts is None:
            return []
        ended = [text for text in texts.values() if not text.current]
        for text in ended:
            self._drop(text)
            self._keep(text, seq)
        return ended

    def leave(self) -> list[Text]:
        """Forget those of calls that are another coordinator's now: there they go on, and may come back from there."""
        gone = [text for text in self._texts.values() if not text.current]
        for text in gone:
            self._drop(text)
            text.clear()
        return gone

    def _drop(self, text: Text) -> None:
        del self._texts[text.call_id]
        self._size_bytes -= text.size_bytes
        of_workflow = self._by_workflow[text.workflow_id]
        del of_workflow[text.call_id]
        if not of_workflow:
            del self._by_workflow[text.workflow_id]

    def ended_of(self, workflow_id: str) -> list[Text]:
        """What is kept of texts that have ended, in that order."""
        self._forget_ended()
        return list(self._ended_by_workflow.get(workflow_id, ()))

    def _keep(self, text: Text, seq: int) -> None:
        self.ended += 1
        text.let_go()
        text.ended_at, text.number, text.kept_until = seq, self.ended, self._clock() + ENDED_SECONDS
        self._ended.append(text)
        self._ended_by_workflow.setdefault(text.workflow_id, deque()).append(text)
        self._ended_bytes += text.size_bytes
        self._forget_ended()

    def _forget_ended(self) -> None:
        """What is too old, or too much."""
        now = self._clock()
        while self._ended and (
            self._ended[0].kept_until <= now or self._ended_bytes > ENDED_BYTES or len(self._ended) > ENDED_COUNT
        ):
            text = self._ended.popleft()
            self._ended_bytes -= text.clear()
            of_workflow = self._ended_by_workflow[text.workflow_id]
            of_workflow.popleft()
            if not of_workflow:
                del self._ended_by_workflow[text.workflow_id]

    def _shrink(self) -> None:
        for text in self._texts.values():
            while self._size_bytes > ALL_BYTES and not text.empty:
                self._size_bytes -= text.drop_first()
            if self._size_bytes <= ALL_BYTES:
                return


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
