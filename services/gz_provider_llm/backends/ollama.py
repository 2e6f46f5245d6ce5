"""The back end for Ollama's own API, over one or several servers."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

from gleitzeit.config.ollama import full_name
from gz_provider_llm.backends import ollama_wire as wire
from gz_provider_llm.backends.backend import OnDelta, OnProgress
from gz_provider_llm.backends.known_options import OLLAMA
from gz_provider_llm.backends.lessons import Lessons, left_out
from gz_provider_llm.backends.ollama_instances import Held, Instance, Instances
from gz_provider_llm.errors import BadRequest, LlmError, ModelNotFound, RateLimited, ServerError, Unreachable
from gz_provider_llm.shapes.requests import ChatRequest, EmbedRequest
from gz_provider_llm.shapes.results import ChatResult, EmbedResult, ModelInfo, text_of, vector_of
from gz_provider_llm.shapes.structured import in_words_where_needed

SHOWN_AT_ONCE: Final = 8  # models whose details are asked for side by side

_EMBEDDINGS: Final = "embeddings for each input"

_T = TypeVar("_T")


class Ollama:
    """Duties of the caller: `close` it once. `capacity` None: as many calls at once as the servers take that answer."""

    name = "ollama"
    ignored: frozenset[str] = frozenset()
    options = OLLAMA

    def __init__(self, instances: Instances, *, capacity: int | None = None) -> None:
        self._instances = instances
        self._capacity = capacity
        self._lessons = Lessons()
        self._shown: dict[str, dict[str, Any]] = {}
        """What /api/show tells, by the digest of the model."""

    @property
    def capacity(self) -> int:
        """Where none answers, that of one: it may come back at any time, and says itself that it is away."""
        alive = self._instances.alive or self._instances.all[:1]
        return self._capacity or sum(instance.slots for instance in alive)

    async def follow(self) -> None:
        if len(self._instances.all) > 1:
            await self._instances.fresh()

    async def chat(self, request: ChatRequest, on_delta: OnDelta) -> ChatResult:
        async def ask(request: ChatRequest) -> ChatResult:
            return await self._ask(request, partial(self._chat, request=request, on_delta=told))

        told = on_delta if request.stream else _nobody_listens
        return await in_words_where_needed(request, ask)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        async def ask(instance: Instance) -> EmbedResult:
            try:
                return await _embed(instance, request)
            except ServerError as error:
                raise _for_good(error) from None

        return await self._ask(request, ask)

    async def models(self) -> list[ModelInfo]:
        """Of all servers that answer. Raises Unreachable if none does."""
        await self._instances.fresh(0)
        alive = self._instances.alive
        if not alive:
            raise self._instances.nobody()
        first = {held.name: (instance, held) for instance in reversed(alive) for held in instance.models.values()}
        limit = asyncio.Semaphore(SHOWN_AT_ONCE)
        shown = await asyncio.gather(*(self._show(instance, held, limit) for instance, held in first.values()))
        infos = [self._info(held, shown) for (_, held), shown in zip(first.values(), shown, strict=True)]
        return sorted(infos, key=lambda info: info.name)

    async def pull(self, model: str, on_progress: OnProgress) -> None:
        """Onto the server with the least to do. Raises ModelNotFound for what Ollama's library does not have."""
        await self._instances.fresh()
        alive = self._instances.alive
        if not alive:
            raise self._instances.nobody()
        instance = min(alive, key=lambda instance: instance.running)
        download = wire.Download()
        async with instance.http.lines("/api/pull", {"model": model, "stream": True}, paid=False) as lines:
            async for line in lines:
                said = instance.http.server.decode(line)
                if "error" in said:
                    raise _pull_failed(model, said["error"], instance)
                on_progress(*download.add(said))
        if not download.done:
            raise instance.http.server.cut()
        await instance.refresh()

    async def close(self) -> None:
        await self._instances.close()

    async def _ask(self, request: ChatRequest | EmbedRequest, ask: Callable[[Instance], Awaitable[_T]]) -> _T:
        """Of the server that suits best. One that is full, gone, or has lost the model has not begun the call: the next
        is asked."""
        failure: LlmError | RateLimited | None = None
        model = request.model
        for instance in await self._candidates(model, request.strategy):
            self._instances.begin(instance)
            try:
                answer = await ask(instance)
            except RateLimited as error:
                failure = error
            except Unreachable as error:
                instance.fail(error)
                failure = failure or error
            except ModelNotFound as error:
                instance.forget(model)
                failure = failure or error
            else:
                instance.loaded.add(full_name(model))
                return answer
            finally:
                instance.running -= 1
        if isinstance(failure, ModelNotFound):
            await self._instances.fresh(0)
            if not any(instance.holds(model) for instance in self._instances.alive):
                raise self._instances.not_found(model)  # else the server knows why it lists it and does not give it
        assert failure is not None, "there is at least one candidate"
        raise failure

    async def _candidates(self, model: str, strategy: str) -> list[Instance]:
        """A single server is asked without looking first: it says itself what it does not have."""
        if len(self._instances.all) == 1:
            return list(self._instances.all)
        await self._instances.fresh()
        try:
            return self._instances.candidates(model, strategy)
        except (ModelNotFound, Unreachable):
            await self._instances.fresh(0)  # somebody may have pulled it, or started a server, just now
            return self._instances.candidates(model, strategy)

    async def _chat(self, instance: Instance, request: ChatRequest, on_delta: OnDelta) -> ChatResult:
        """In a second request without what the server has said it does not know; nothing was generated by the first."""
        model = full_name(request.model)
        lessons = self._lessons.of(model)
        try:
            if instance.has_chat and not request.raw:
                answer = await _stream(instance, "/api/chat", wire.chat_body(request, lessons), on_delta)
            else:
                answer = await _stream(instance, "/api/generate", wire.generate_body(request, lessons), on_delta)
        except BadRequest as error:
            if not self._lessons.learn(model, wire.lesson(request, error.message)):
                if not instance.has_chat or request.raw or not _has_no_such_path(error):
                    raise
                instance.has_chat = False
            return await self._chat(instance, request, on_delta)
        return answer.result(request.model, instance.name, left_out(request, lessons, ("reasoning_effort",)))

    async def _show(self, instance: Instance, held: Held, limit: asyncio.Semaphore) -> dict[str, Any]:
        key = held.digest or held.name
        if key not in self._shown:
            async with limit:
                try:
                    self._shown[key] = await instance.http.post_json("/api/show", {"model": held.name}, paid=False)
                except LlmError:
                    return {}  # it was deleted just now; the list is right without its details
        return self._shown[key]

    def _info(self, held: Held, shown: dict[str, Any]) -> ModelInfo:
        holders = [instance for instance in self._instances.alive if instance.holds(held.name)]
        contexts = (v for k, v in (shown.get("model_info") or {}).items() if k.endswith(".context_length"))
        capabilities = {"capabilities": shown["capabilities"]} if shown.get("capabilities") else {}
        return ModelInfo(
            name=held.name,
            size_bytes=held.size,
            context_tokens=next(contexts, None),
            loaded=any(instance.has_loaded(held.name) for instance in holders),
            details={**(held.details or {}), **capabilities},
            provider_ids=tuple(instance.name for instance in holders),
        )


async def _embed(instance: Instance, request: EmbedRequest) -> EmbedResult:
    if not instance.has_embed:
        return await _embed_one_by_one(instance, request)
    try:
        given = await instance.http.post_json("/api/embed", wire.embed_body(request))
        answer = instance.http.server.checked(given, _EMBEDDINGS)
    except BadRequest as error:
        if not _has_no_such_path(error):
            raise
        instance.has_embed = False
        return await _embed_one_by_one(instance, request)
    with instance.http.server.reading(_EMBEDDINGS):
        vectors = [vector_of(vector) for vector in answer["embeddings"]]
        model, usage = text_of(answer.get("model"), request.model), wire.usage_of(answer)
    if len(vectors) != len(request.inputs):
        raise instance.http.server.nonsense(_EMBEDDINGS)
    return EmbedResult(embeddings=vectors, model=model, usage=usage, provider_id=instance.name)


async def _embed_one_by_one(instance: Instance, request: EmbedRequest) -> EmbedResult:
    """As servers did it before they had /api/embed."""
    vectors = []
    for body in wire.old_embed_bodies(request):
        answer = await instance.http.post_json("/api/embeddings", body)
        with instance.http.server.reading("an embedding"):
            vectors.append(vector_of(answer["embedding"]))
    return EmbedResult(embeddings=vectors, model=request.model, provider_id=instance.name)


async def _stream(instance: Instance, path: str, body: dict[str, Any], on_delta: OnDelta) -> wire.Answer:
    answer = wire.Answer(raw=bool(body.get("raw")))
    http = instance.http
    try:
        async with http.lines(path, body) as lines:
            async for line in lines:
                if text := answer.add(http.server.checked(http.server.decode(line), "what Ollama would")):
                    on_delta(text)
    except ServerError as error:
        raise _for_good(error) from None
    except (KeyError, TypeError, AttributeError):
        raise ServerError(f"{http.server.shown_url} answered what Ollama would not") from None
    if not answer.done:
        raise http.server.cut()
    return answer


def _for_good(error: ServerError) -> LlmError:
    """What the model cannot do is no failure that passes, though Ollama answers it with 500 or 501."""
    lacking = ("does not support", "missing data required for image input")
    if _status(error) == 501 or any(words in error.message for words in lacking):
        return BadRequest(error.message, error.data)
    return error


def _pull_failed(model: str, said: object, instance: Instance) -> Exception:
    if "file does not exist" in str(said):
        message = f"there is no model {model} in Ollama's library: https://ollama.com/search"
        return ModelNotFound(message, {"model": model, "models": sorted(instance.models)})
    return instance.http.server.error_in_stream({"error": said})


def _status(error: LlmError) -> int:
    return int((error.data or {}).get("status", 0))


def _has_no_such_path(error: LlmError) -> bool:
    return _status(error) in (404, 405)


def _nobody_listens(delta: str) -> None:
    pass
