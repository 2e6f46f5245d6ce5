"""What a server may ask us: an old one by requests, a stateless one inside a result that says `input_required`."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from gleitzeit.errors import GleitzeitError, MethodNotFound
from gleitzeit.jsonrpc.request import Request

Elicit = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""From the params of `elicitation/create` to its result: `{action: accept | decline | cancel, content?}`."""

SAMPLING = "sampling/createMessage: there is no model behind this client; let the workflow call one with llm/chat"


async def decline(params: dict[str, Any]) -> dict[str, Any]:
    """Nobody is there to be asked."""
    return {"action": "decline"}


class Inquiries:
    """Answers them: `roots/list` and `ping` by itself, `elicitation/create` by whoever `elicit` asks; `sampling` never.

    See `transport.base.Methods`.
    """

    def __init__(self, roots: Sequence[Path] = (), elicit: Elicit = decline) -> None:
        self._roots = [{"uri": root.resolve().as_uri(), "name": root.name or str(root)} for root in roots]
        self._elicit = elicit

    def knows(self, name: str) -> bool:
        return name in ("ping", "roots/list", "elicitation/create", "sampling/createMessage")

    def dispatch(self, request: Request) -> Coroutine[Any, Any, None] | None:
        return self._answer(request)

    async def _answer(self, request: Request) -> None:
        try:
            request.answer(await self.answer(request.method, request.params))
        except GleitzeitError as error:
            request.fail(error)

    async def answer(self, method: str, params: Any) -> dict[str, Any]:
        """The result. Raises MethodNotFound, in words that say why."""
        match method:
            case "ping":
                return {}
            case "roots/list":
                return {"roots": self._roots}
            case "elicitation/create":
                return await self._elicit(params if isinstance(params, dict) else {})
            case "sampling/createMessage":
                raise MethodNotFound(SAMPLING)
        raise MethodNotFound(f"an MCP client has no method {method!r}")
