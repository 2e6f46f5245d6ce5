"""What running calls have said lately, line by line, so that one who begins to watch a moment later reads it too.

A task may end before the one who submitted it has asked to watch, and unlike events lines are not journaled. They are
bounded: of one workflow by WORKFLOW_BYTES, all together by ALL_BYTES, where what is oldest goes first, the workflow
that was silent for longest before others.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator

from msgspec import Struct

WORKFLOW_BYTES = 256 << 10
ALL_BYTES = 8 << 20
_ENTRY_BYTES = 200


class Line(Struct, frozen=True):
    """`number` counts all lines from 1; `seq` is the workflow's last event when the line was said. `params` are those
    of its notification, encoded."""

    number: int
    seq: int
    params: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.params) + _ENTRY_BYTES


class Lines:
    def __init__(self) -> None:
        self.last = 0
        """The number of the line that came last."""
        self._by_workflow: OrderedDict[str, deque[Line]] = OrderedDict()
        """What was silent for longest comes first."""
        self._sizes: dict[str, int] = {}
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def add(self, workflow_id: str, seq: int, params: bytes) -> Line:
        self.last += 1
        line = Line(self.last, seq, params)
        kept = self._by_workflow.setdefault(workflow_id, deque())
        kept.append(line)
        self._by_workflow.move_to_end(workflow_id)
        self._grow(workflow_id, line.size_bytes)
        while kept and self._sizes[workflow_id] > WORKFLOW_BYTES:
            self._grow(workflow_id, -kept.popleft().size_bytes)
        while self._size_bytes > ALL_BYTES:
            silent, _ = self._by_workflow.popitem(last=False)
            self._size_bytes -= self._sizes.pop(silent)
        return line

    def after(self, workflow_id: str, number: int) -> Iterator[Line]:
        """The kept lines of a workflow with a higher number, in their order."""
        return iter([line for line in self._by_workflow.get(workflow_id, ()) if line.number > number])

    def _grow(self, workflow_id: str, size_bytes: int) -> None:
        self._sizes[workflow_id] = self._sizes.get(workflow_id, 0) + size_bytes
        self._size_bytes += size_bytes
