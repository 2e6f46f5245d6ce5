"""The port between the methods of llm/v1 and a model server. Its adapters map to one API each, and back.

An adapter raises what `errors.py` names and nothing else. When the asyncio task that waits for it is cancelled, it
closes the request to the server at once, so that nobody generates what nobody reads.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from gz_provider_llm.shapes.requests import ChatRequest, EmbedRequest
from gz_provider_llm.shapes.results import ChatResult, EmbedResult, ModelInfo

OnDelta = Callable[[str], None]
"""Takes the next piece of the answer's text, never an empty one; it does not wait."""

OnProgress = Callable[[float, float | None, str], None]
"""Takes how far something is: done, of how much (None if nobody knows), and in words."""


class Backend(Protocol):
    """`name` is that of the provider: `openai`. `ignored` are the params (by their name in llm/v1) that this API has no
    place for: the methods say so to the author of a task who sets one. `options` are the names that its servers are
    known to take in a param of that name; none if they refuse themselves what they do not know.
    """

    name: str
    ignored: frozenset[str]
    options: frozenset[str]

    @property
    def capacity(self) -> int:
        """How many calls to send at once. Asked for at start, before the loop runs, and now and then."""

    async def chat(self, request: ChatRequest, on_delta: OnDelta) -> ChatResult:
        """Ask for an answer. With `request.stream` its text comes by `on_delta`, too, as it is generated."""

    async def embed(self, request: EmbedRequest) -> EmbedResult: ...

    async def models(self) -> list[ModelInfo]: ...

    async def close(self) -> None: ...


@runtime_checkable
class Follower(Protocol):
    """A back end whose server says itself how many calls it takes at once."""

    async def follow(self) -> None:
        """Ask it, so that `capacity` is right. Never fails: what is not said is left as it was."""


@runtime_checkable
class Puller(Protocol):
    """A back end that can fetch a model which its server does not have yet."""

    async def pull(self, model: str, on_progress: OnProgress) -> None: ...
