"""What a model thinks and what it says, where its server leaves both in one text: `<think>…</think>` at its beginning,
as DeepSeek's and Qwen's models write it. What comes later is text: so Ollama, llama.cpp and vLLM have it. No I/O."""

import re
from collections.abc import Callable
from typing import Final

OPENING: Final = "<think>"
CLOSING: Final = "</think>"


_ONLY_CLOSED: Final = re.compile(r"(?<!`)</think>(?!`)")


def ended(said: str) -> tuple[str, str]:
    """What is said and what is thought, where the template of a model opens its thoughts, so that a whole text has but
    their end, and the server leaves it there."""
    thought, closing, rest = said.partition(CLOSING)
    if closing and OPENING not in said and CLOSING not in rest and _ONLY_CLOSED.search(said):
        return rest.lstrip(), thought.strip()
    return said, ""


class Thoughts:
    """Parts a text that comes in pieces. What may be half of a tag is held back until it is known."""

    def __init__(self) -> None:
        self._held = ""
        self._part: Callable[[], tuple[str, str]] = self._begin

    def feed(self, piece: str) -> tuple[str, str]:
        """What is said, and what is thought."""
        self._held += piece
        said = thought = ""
        part = None
        while part != self._part and self._held:  # a piece may be of several parts
            part = self._part
            more_said, more_thought = part()
            said, thought = said + more_said, thought + more_thought
        return said, thought

    def end(self) -> str:
        """What was held back and is no tag: it is said, or, if no thought has ended, thought."""
        rest, self._held = self._held, ""
        return rest

    @property
    def open(self) -> bool:
        """Whether it is still being thought."""
        return self._part in (self._begin_thought, self._think)

    def _begin(self) -> tuple[str, str]:
        text = self._held.lstrip()
        if text.startswith(OPENING):
            self._held, self._part = text[len(OPENING) :], self._begin_thought
        elif not OPENING.startswith(text):
            self._part = self._say
        return "", ""

    def _begin_thought(self) -> tuple[str, str]:
        return self._without_white(self._think)

    def _think(self) -> tuple[str, str]:
        thought, closing, rest = self._held.partition(CLOSING)
        if closing:
            self._held, self._part = rest, self._begin_to_say
            return "", thought.rstrip()
        half = next((n for n in range(len(CLOSING) - 1, 0, -1) if thought.endswith(CLOSING[:n])), 0)
        sure = thought[: len(thought) - half].rstrip()  # what is white before the tag belongs to neither
        self._held = thought[len(sure) :]
        return "", sure

    def _begin_to_say(self) -> tuple[str, str]:
        return self._without_white(self._say)

    def _without_white(self, then: Callable[[], tuple[str, str]]) -> tuple[str, str]:
        self._held = self._held.lstrip()
        if self._held:
            self._part = then
        return "", ""

    def _say(self) -> tuple[str, str]:
        said, self._held = self._held, ""
        return said, ""
