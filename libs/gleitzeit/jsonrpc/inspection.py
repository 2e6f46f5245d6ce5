"""To look through a long JSON text piece by piece, so that whoever has other things to do can do them in between.

What a look costs for a text of 15 MB that is full of small objects is a third of a second, if it is done in one go.
"""

import re
from collections.abc import Iterator
from itertools import accumulate

PIECE_BYTES = 64 << 10
_BRACKETS = b"[]{}"
_COMMA = ord(",")
_NOT_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_NOT_STRUCTURE = bytes(set(_NOT_BRACKETS) - {_COMMA})
_STEPS = [1 if byte in b"[{" else -1 if byte in b"]}" else 0 for byte in range(256)]
_ODD_NUMBER = re.compile(rb"[eE][+-]?\d{3}|\d{4000}")
"""May be more than what can be read as a number."""
_LONGEST_ODD = 4_001


class Inspection:
    """Of one text, which must be valid JSON. `feed` it with all pieces in order. With `most_members`, those of an array
    are counted, until there are more."""

    def __init__(self, most_members: int = 0) -> None:
        self.deepest = 0
        """How many arrays and objects stand inside one another."""
        self.members = 0
        """Of the array that the text is, if they were counted: one that is empty counts as 1."""
        self.odd_numbers = False
        """There may be numbers that are valid but out of range for readers."""
        self._most_members = most_members
        self._depth = 0
        self._in_string = False
        self._held_back = b""
        self._tail = b""

    def feed(self, piece: bytes) -> None:
        """The next piece; what is told is complete after the last one."""
        outside = self._outside_strings(piece)
        if not self.members and self._most_members and (begun := outside.lstrip()):
            self.members = int(begun.startswith(b"["))
            self._most_members *= self.members
        counting = self.members <= self._most_members and self._most_members > 0
        structure = outside.translate(None, _NOT_STRUCTURE if counting else _NOT_BRACKETS)
        if structure:
            depths = list(accumulate(map(_STEPS.__getitem__, structure), initial=self._depth))
            self.deepest = max(self.deepest, max(depths))
            self._depth = depths[-1]
            if counting:
                between = zip(depths, structure, strict=False)
                self.members += sum(1 for depth, byte in between if depth == 1 and byte == _COMMA)
        numbers = self._tail + outside
        self.odd_numbers = self.odd_numbers or _ODD_NUMBER.search(numbers) is not None
        self._tail = numbers[-_LONGEST_ODD:]

    def _outside_strings(self, piece: bytes) -> bytes:
        piece = self._held_back + piece
        self._held_back = b""
        if piece.endswith(b"\\") and (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece, self._held_back = piece[:-1], b"\\"
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside = parts[1::2] if self._in_string else parts[::2]
        self._in_string ^= len(parts) % 2 == 0
        return b"".join(outside)


def pieces(text: bytes) -> Iterator[bytes]:
    for start in range(0, len(text), PIECE_BYTES):
        yield text[start : start + PIECE_BYTES]
