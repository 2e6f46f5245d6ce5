"""What looks into blobs have found: asked for by an effect, and kept here while there is room.

Whatever needs one raises BlobNeeded from within; `Core` lets it come again when the answer is there. What cannot be had
is an error for who asks next.
"""

from collections import OrderedDict

from gleitzeit.errors import GleitzeitError
from gleitzeit.model.blobs import Look

ROOM_BYTES = 32 << 20
"""Of what was found, as JSON. The one that came last stays in any case."""
ENTRY_BYTES = 500
"""What remembering takes besides."""
MAX_PROBLEMS = 1_000


class BlobNeeded(Exception):
    """Not an error: come again when it has been looked."""

    def __init__(self, look: Look) -> None:
        super().__init__(look.name)
        self.look = look


class Looks:
    def __init__(self, room_bytes: int = ROOM_BYTES) -> None:
        self._room_bytes = room_bytes
        self._found: OrderedDict[Look, tuple[object, int]] = OrderedDict()
        self._size_bytes = 0
        self._problems: OrderedDict[Look, GleitzeitError] = OrderedDict()

    def value(self, look: Look) -> object:
        """Raises BlobNeeded, and an error if it cannot be had."""
        if look in self._problems:  # told once: the next one may have more luck
            raise self._problems.pop(look)
        found = self._found.get(look)
        if found is None:
            raise BlobNeeded(look)
        self._found.move_to_end(look)
        return found[0]

    def add(self, look: Look, value: object, size_bytes: int) -> None:
        if look in self._found:
            return
        self._problems.pop(look, None)
        self._found[look] = value, size_bytes + ENTRY_BYTES
        self._size_bytes += size_bytes + ENTRY_BYTES
        while self._size_bytes > self._room_bytes and len(self._found) > 1:
            _, (_, dropped_bytes) = self._found.popitem(last=False)
            self._size_bytes -= dropped_bytes

    def add_problem(self, look: Look, problem: GleitzeitError) -> None:
        self._problems[look] = problem
        while len(self._problems) > MAX_PROBLEMS:
            self._problems.popitem(last=False)
