"""Arrays of messages: one that came is answered by one, and of those that leave one may be made of many."""

# An array that leaves is not made longer than this: what is behind it should not wait for a whole large frame.
COALESCE_BYTES = 1024 * 1024
# What an error takes that says that an answer is too large, with its id.
_ERROR_BYTES = 512


class Batch:
    """The answers to an array, until all its requests have theirs: `pending` counts those that have not."""

    __slots__ = ("_answers", "_size_bytes", "pending")

    def __init__(self) -> None:
        self.pending = 0
        self._answers: list[bytes] = []
        self._size_bytes = 0

    def room_bytes(self, frame_bytes: int) -> int:
        """How long an answer may be: what the frame leaves, less the place for an error for each of the other
        members.
        """
        return frame_bytes - self._size_bytes - _ERROR_BYTES * (self.pending - 1)

    def add(self, answer: bytes) -> None:
        self._answers.append(answer)
        self._size_bytes += len(answer) + 1

    def whole(self) -> bytes | None:
        """The array, if nothing is missing. One with notifications only has no answer at all."""
        return b"[%b]" % b",".join(self._answers) if self.pending == 0 and self._answers else None


def coalesced(messages: list[bytes], at_most: int) -> list[bytes]:
    """Arrays of up to `at_most` messages, and of up to COALESCE_BYTES unless one message is larger. A message that is
    an array stays alone.
    """
    frames: list[bytes] = []
    start = size_bytes = 0
    for index, message in enumerate(messages):
        alone = message[0] == ord("[")
        if index > start and (alone or index - start >= at_most or size_bytes + len(message) > COALESCE_BYTES):
            frames.append(_array(messages[start:index]))
            start, size_bytes = index, 0
        size_bytes += len(message)
        if alone:
            frames.append(message)
            start, size_bytes = index + 1, 0
    if start < len(messages):
        frames.append(_array(messages[start:]))
    return frames


def _array(messages: list[bytes]) -> bytes:
    return messages[0] if len(messages) == 1 else b"[%b]" % b",".join(messages)
