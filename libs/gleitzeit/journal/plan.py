"""What one transaction will write, from the commits that wait together: each is taken in as a whole or left out."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from gleitzeit.errors import JournalConflict
from gleitzeit.journal.base import Summary
from gleitzeit.journal.finding import Row
from gleitzeit.journal.records import Packed


class End(Struct):
    """Where a stream ends, and what its row in `stream` says: `(kind, key, status, active, created_at)`."""

    id: int
    last: int
    record: int
    """The id of its last record, 0 if it has none."""
    row: Row


class Plan:
    """What one transaction will write. Checks each commit against the ends known before it and those it makes."""

    def __init__(self, known: Mapping[str, End], next_stream: int, next_record: int) -> None:
        self._known = known
        self.next_stream = next_stream
        self.next_record = next_record
        self.ends: dict[str, End] = {}
        self.summaries: dict[str, Summary] = {}
        self.records: list[Row] = []
        self.blobs: list[tuple[str, str]] = []

    def add(self, commit: Sequence[Packed]) -> JournalConflict | None:
        """Take the commit in as a whole, or leave it out as a whole."""
        ends: dict[str, End] = {}
        records: list[Row] = []
        next_stream, next_record = self.next_stream, self.next_record
        for packed in commit:
            stream = packed.stream
            end = ends.get(stream) or self.ends.get(stream) or self._known.get(stream)
            if end is None:
                end = End(next_stream, 0, 0, ())
                next_stream += 1
            if packed.seq != end.last + 1:
                return JournalConflict(f"{stream} ends at {end.last}: cannot append {packed.seq}")
            previous = end.record
            for record in packed.records:
                records.append((next_record, previous, *record))
                previous, next_record = next_record, next_record + 1
            ends[stream] = End(end.id, packed.last, previous, _row(packed.summary))
        self.next_stream, self.next_record = next_stream, next_record
        self.ends.update(ends)
        self.records += records
        self.summaries.update((packed.stream, packed.summary) for packed in commit)
        self.blobs += [(packed.stream, name) for packed in commit for name in packed.blobs]
        return None


def _row(summary: Summary) -> Row:
    return summary.kind, summary.key, summary.status, int(summary.active), summary.created_at
