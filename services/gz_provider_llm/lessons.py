"""What models have said that they do not take, so that they are asked without it. Pure.

What a parameter is called, and whether it may be sent at all, is another matter with each model: o-series models of
OpenAI know no `max_tokens`, models that do not think refuse to be told how long, JSON by a schema is not to be had
everywhere. A refusal of that kind costs nothing, and no list of names stays true; so it is asked, and learnt.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

from gz_provider_llm.requests import ChatRequest

MODELS: Final = 1000  # beyond so many, those that were learnt first are forgotten
SAMPLING: Final = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed")
_REFUSES: Final = re.compile(
    r"not support|unsupported|not permitted|unrecognized|deprecated|cannot both|may only be set"
)


class Lessons:
    """By the name of the model."""

    def __init__(self) -> None:
        self._learnt: dict[str, frozenset[str]] = {}

    def of(self, model: str) -> frozenset[str]:
        return self._learnt.get(model, frozenset())

    def learn(self, model: str, lesson: str) -> bool:
        """Whether it is a new one, and no empty one: then the model can be asked again."""
        known = self.of(model)
        if not lesson or lesson in known:
            return False
        self._learnt[model] = known | {lesson}
        if len(self._learnt) > MODELS:
            del self._learnt[next(iter(self._learnt))]
        return True


def refused_one(message: str, names: Iterable[str]) -> str:
    """Which of the parameters a server says that it does not take; empty if of none."""
    if not _REFUSES.search(message.lower()):
        return ""
    return next((name for name in names if re.search(rf"\b{name}\b", message)), "")


def left_out(request: ChatRequest, lessons: Collection[str], names: Iterable[str]) -> tuple[str, ...]:
    """One sentence for each of the parameters that are set, and that the model does not take."""
    dropped = [name for name in names if name in lessons and getattr(request, name) not in (None, "")]
    return tuple(f"{request.model} takes no {name}: it was left out" for name in dropped)
