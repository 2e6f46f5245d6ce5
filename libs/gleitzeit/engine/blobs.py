"""Values of blobs that references look into: asked for by an effect, and kept here while there is room.

Whatever needs one raises BlobNeeded from within; `Core` lets it come again when the blob is loaded. What is not there,
or cannot be read, is a ParameterError for who asks next.
"""

from collections import OrderedDict

import msgspec

from gleitzeit.errors import ParameterError
from gleitzeit.model.blobs import KEY, Reference, value_of

ROOM_BYTES = 128 << 20
"""Of their contents. The one that came last stays in any case."""
MAX_PROBLEMS = 1_000


class BlobNeeded(Exception):
    """Not an error: come again when the blob is loaded."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class LoadedBlobs:
    def __init__(self, room_bytes: int = ROOM_BYTES) -> None:
        self._room_bytes = room_bytes
        self._contents: OrderedDict[str, bytes] = OrderedDict()
        self._values: dict[tuple[str, str], object] = {}
        """By name and form, decoded when first asked for."""
        self._size_bytes = 0
        self._problems: OrderedDict[str, str] = OrderedDict()

    def value(self, blob: Reference) -> object:
        """Raises BlobNeeded, and ParameterError if it cannot be had."""
        name, form = str(blob[KEY]), str(blob.get("as", ""))
        if name in self._problems:  # told once: the next one may have more luck
            raise ParameterError(f"the value {name} cannot be read: {self._problems.pop(name)}")
        content = self._contents.get(name)
        if content is None:
            raise BlobNeeded(name)
        self._contents.move_to_end(name)
        if (name, form) not in self._values:
            try:
                self._values[name, form] = value_of(blob, content)
            except msgspec.MsgspecError as error:
                raise ParameterError(f"the value {name} cannot be read: {error}") from None
        return self._values[name, form]

    def add(self, name: str, content: bytes) -> None:
        if name in self._contents:
            return
        self._problems.pop(name, None)
        self._contents[name] = content
        self._size_bytes += len(content)
        while self._size_bytes > self._room_bytes and len(self._contents) > 1:
            old, dropped = self._contents.popitem(last=False)
            self._size_bytes -= len(dropped)
            for form in ("", "text", "base64"):
                self._values.pop((old, form), None)

    def add_problem(self, name: str, problem: str) -> None:
        self._problems[name] = problem
        while len(self._problems) > MAX_PROBLEMS:
            self._problems.popitem(last=False)
