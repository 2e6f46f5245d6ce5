"""The answers of a provider: each as it is, or with blobs for what is large in it."""

import asyncio

from gleitzeit.errors import GleitzeitError, PayloadTooLarge
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model.blobs import INLINE_BYTES
from gleitzeit.provider.blobs import OWNER, BlobConnections, Owner
from gleitzeit.provider.calls import Outcome
from gleitzeit.provider.method import INLINE_LIMIT_BYTES


class Answers:
    def __init__(self, blobs: BlobConnections) -> None:
        self._blobs = blobs
        self._under_way: dict[asyncio.Task[None], str] = {}
        """What is large and on its way, with the id of its call."""

    @property
    def call_ids(self) -> set[str]:
        """The calls whose answers are on their way."""
        return set(self._under_way.values())

    def stop(self) -> "list[asyncio.Task[None]]":
        """Give up what is on its way. Returns what ends then."""
        for answering in self._under_way:
            answering.cancel()
        return list(self._under_way)

    def send(self, request: Request, call_id: str, max_result_bytes: int | None, outcome: Outcome) -> None:
        """With the outcome as it is; or, to a coordinator that takes them, with blobs for what is large."""
        owner: Owner | None = request.connection.data.get(OWNER)
        if owner is None or not isinstance(outcome, bytes) or len(outcome) <= INLINE_BYTES:
            _respond(request, max_result_bytes, outcome)
            return
        request.defer()
        answering = asyncio.get_running_loop().create_task(self._divide(request, max_result_bytes, outcome, owner))
        self._under_way[answering] = call_id
        answering.add_done_callback(self._under_way.pop)

    async def _divide(self, request: Request, max_result_bytes: int | None, outcome: bytes, owner: Owner) -> None:
        try:
            divided: Outcome = await self._blobs.divided(owner, outcome)
        except GleitzeitError as error:
            divided = failure_of(error)
        _respond(request, max_result_bytes, divided)


def _respond(request: Request, max_result_bytes: int | None, outcome: Outcome) -> None:
    if not isinstance(outcome, bytes):
        request.fail(outcome)
    elif max_result_bytes is not None and len(outcome) > max_result_bytes:
        request.fail(PayloadTooLarge("the result is larger than asked for", {"size_bytes": len(outcome)}))
    elif len(outcome) > INLINE_LIMIT_BYTES:
        request.fail(PayloadTooLarge(f"the result has {len(outcome)} bytes, {INLINE_LIMIT_BYTES} can be sent"))
    else:
        request.answer(outcome)
