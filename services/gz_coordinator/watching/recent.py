"""The events of workflows that began lately, as they became durable.

Who submits a workflow watches it next, as a rule. From here it has what happened meanwhile at once: a way through the
journal's thread, and back, would be half of what a short task takes. Bounded: a workflow that has said more than
WORKFLOW_BYTES is read from the journal, and so is all but what began last of ALL_BYTES.
"""

from collections.abc import Sequence

from msgspec import Struct

WORKFLOW_BYTES = 64 << 10
ALL_BYTES = 8 << 20
_ENTRY_BYTES = 200


class _Begun(Struct):
    events: list[bytes]
    size_bytes: int


class Recent:
    def __init__(self) -> None:
        self.size_bytes = 0
        self._begun: dict[str, _Begun] = {}
        """What began first comes first. Each has all durable events of its workflow."""

    def add(self, workflow_id: str, first_seq: int, encoded: Sequence[bytes]) -> None:
        """Events that have just become durable; the first has this number."""
        if first_seq == 1:
            self._drop(workflow_id)
            self._begun[workflow_id] = _Begun([], 0)
        begun = self._begun.get(workflow_id)
        if begun is None:
            return
        if len(begun.events) != first_seq - 1:
            self._drop(workflow_id)
            return
        size_bytes = sum(map(len, encoded)) + _ENTRY_BYTES * len(encoded)
        begun.events += encoded
        begun.size_bytes += size_bytes
        self.size_bytes += size_bytes
        if begun.size_bytes > WORKFLOW_BYTES:
            self._drop(workflow_id)
        while self.size_bytes > ALL_BYTES:
            self._drop(next(iter(self._begun)))

    def after(self, workflow_id: str, seq: int) -> list[bytes] | None:
        """All events with a higher number that are durable; None if they are not known here."""
        begun = self._begun.get(workflow_id)
        return None if begun is None or seq > len(begun.events) else begun.events[seq:]

    def clear(self) -> None:
        """Of some workflows others may append events from now on. To look for these takes longer than to read others
        from the journal once more."""
        self._begun.clear()
        self.size_bytes = 0

    def _drop(self, workflow_id: str) -> None:
        begun = self._begun.pop(workflow_id, None)
        if begun is not None:
            self.size_bytes -= begun.size_bytes
