"""Conversations that calls continue by a `session_id`. They are remembered here until this process ends."""

from collections import OrderedDict
from collections.abc import Iterable

from gz_provider_llm.shapes.requests import Message

SESSIONS = 256
MESSAGES = 40


class Sessions:
    """The last MESSAGES messages of the SESSIONS that were used last, without system messages."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, tuple[Message, ...]] = OrderedDict()

    def history(self, session_id: str) -> tuple[Message, ...]:
        return self._sessions.get(session_id, ())

    def add(self, session_id: str, messages: Iterable[Message]) -> None:
        """A question and its answer. A conversation that is too long loses its beginning, up to a question."""
        kept = (*self.history(session_id), *(message for message in messages if message.role != "system"))[-MESSAGES:]
        while kept and kept[0].role != "user":
            kept = kept[1:]
        self._sessions[session_id] = kept
        self._sessions.move_to_end(session_id)
        if len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
