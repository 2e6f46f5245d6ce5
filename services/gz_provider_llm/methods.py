"""llm/v1 as a provider serves it, over whichever back end: params in, requests out, one shape of result back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.errors import GleitzeitError, InvalidParams, TaskTimeout
from gleitzeit.provider import Call, Provider
from gleitzeit.schemas.words import near
from gleitzeit.spec.durations import in_words
from gz_provider_llm.account import Account, note, opened
from gz_provider_llm.backends.backend import Backend, Follower, OnDelta, Puller
from gz_provider_llm.backends.known_options import warnings_about
from gz_provider_llm.batch import items_of, run_batch
from gz_provider_llm.errors import (
    BadRequest,
    ModelNotFound,
    RateLimited,
)
from gz_provider_llm.exchange import Exchange, Watch
from gz_provider_llm.limits import Limits, Rate
from gz_provider_llm.sessions import Sessions
from gz_provider_llm.several import first_that_can
from gz_provider_llm.shapes.files import Files
from gz_provider_llm.shapes.requests import ChatRequest, EmbedRequest, Message, chat_request, embed_request
from gz_provider_llm.shapes.results import ChatResult, EmbedResult, chat_wire, embed_wire, known_as, usage_wire

FIRST_LOOK_SECONDS = 1.0
"""For a server to say which models it has, before others know of the provider."""
LOOK_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 2.0
"""The same at a server that did not answer."""
METHODS = ("chat", "generate", "vision", "embeddings", "models")
CHARACTERS_PER_TOKEN = 4  # a guess for the limits, until the server has counted
_MODELS_SHOWN = 20

_UNKNOWN_STRATEGIES = ("latency_based", "weighted")  # of earlier versions, in whose documents they stand
_USUAL = {"chat": ("llama3.2", "llama3"), "vision": ("llava",)}
"""What earlier versions took where a document names no model."""
_FILE_PARAMS = frozenset({"file_path", "files", "image_path", "image_paths", "images", "image_data"})

_Result = TypeVar("_Result", ChatResult, EmbedResult)


class Settings(Struct, frozen=True, kw_only=True):
    """What the options of the process say.

    `directory` is where relative paths begin. `default_models` are for calls that name none, by `chat`, `vision` and
    `embeddings`; where one is missing that of `chat` counts, and without it the only model that the server has, or the
    usual one.
    With `list_models` the server is asked now and then which it has, so that tasks go where their model is.
    """

    directory: Path
    default_models: Mapping[str, str] = {}
    requests_per_minute: Rate = None
    tokens_per_minute: Rate = None
    list_models: bool = False


def build(backend: Backend, settings: Settings) -> Provider:
    """The provider, ready to be served. It closes the back end when it ends."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        # Before the first call comes: of who is there and lists no models it is thought that it may have any.
        await _follow(backend, provider)
        looking = asyncio.create_task(_keep_true(backend, provider, looked, list_models=settings.list_models))
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await looked.wait()
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            await backend.close()

    looked = asyncio.Event()
    provider = Provider(backend.name, protocols=["llm/v1"], capacity=backend.capacity, lifespan=lifespan)
    methods = LlmMethods(backend, settings)
    for name in METHODS:
        provider.method(f"llm/{name}")(getattr(methods, name))
    return provider


async def _keep_true(backend: Backend, provider: Provider, looked: asyncio.Event, *, list_models: bool) -> None:
    """What the provider says of its models and its capacity. A server that is away has none, and may come back."""
    while True:
        names, pause = set[str](), LOOK_SECONDS
        if list_models:
            try:
                names = {model.name for model in await backend.models()}
            except GleitzeitError as error:
                pause = LOOK_AGAIN_SECONDS if error.retryable else LOOK_SECONDS  # Azure, for one, has no such list
        provider.models = sorted({known for name in names for known in known_as(name)})
        looked.set()
        await asyncio.sleep(pause)
        await _follow(backend, provider)


async def _follow(backend: Backend, provider: Provider) -> None:
    if isinstance(backend, Follower):
        await backend.follow()
        provider.capacity = backend.capacity


class LlmMethods:
    """The methods of llm/v1, to be added to a provider."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._settings = settings
        self._files = Files(settings.directory)
        self._limits = Limits(settings.requests_per_minute, settings.tokens_per_minute)
        self._sessions = Sessions()

    async def chat(self, call: Call, **params: Any) -> dict[str, Any]:
        return await self._answered(call, params, "chat")

    async def generate(self, call: Call, **params: Any) -> dict[str, Any]:
        wire = await self._answered(call, params, "chat")
        return wire | {"text": wire["content"]} if "content" in wire else wire

    async def vision(self, call: Call, **params: Any) -> dict[str, Any]:
        return await self._answered(call, params, "vision")

    async def embeddings(self, call: Call, **params: Any) -> dict[str, Any]:
        began = time.perf_counter()
        warnings = self._warnings(call, params)
        async with _served(call, params) as account:
            request = await asyncio.to_thread(embed_request, params, "", self._files_of(params))

            async def embed(model: str) -> EmbedResult:
                return await self._embedded(replace(request, model=model))

            models = await self._models_for(params, "embeddings")
            result = await first_that_can(models, embed, lambda words: call.log(words, "warning"))
        wire = embed_wire(result, self._backend.name, (time.perf_counter() - began) * 1000)
        wire["requests"] = account.requests
        return wire | {"warnings": warnings} if warnings else wire

    async def models(self) -> dict[str, Any]:
        models = await self._backend.models()
        return {
            "models": [msgspec.to_builtins(model) for model in models],
            "names": [model.name for model in models],
            "count": len(models),
            "provider": self._backend.name,
        }

    async def _answered(self, call: Call, params: dict[str, Any], kind: str) -> dict[str, Any]:
        warnings = self._warnings(call, params)
        async with _served(call, params) as account:
            if params.get("batch_mode"):
                wire = await self._batch(call, params, kind, account)
            else:
                say = call.stream if params.get("stream", True) else None
                wire = await self._conversed(call, params, kind, Watch(say), account)
        wire["requests"] = account.requests
        for warning in wire.get("warnings", ()):
            call.log(warning, "warning")
            warnings.append(warning)
        return wire | {"warnings": warnings} if warnings else wire

    def _files_of(self, params: Mapping[str, Any]) -> Files:
        return self._files.beginning_at(params.get("relative_to"))

    def _warnings(self, call: Call, params: Mapping[str, Any]) -> list[str]:
        """A param that this back end has no place for is left out, and an option may be, but never in silence."""
        ignored = sorted(self._backend.ignored & params.keys())
        warnings = [f"{self._backend.name} knows no {name}: it was left out" for name in ignored]
        strategy = params.get("load_balancing_strategy")
        if strategy in _UNKNOWN_STRATEGIES and "load_balancing_strategy" not in ignored:
            warnings.append(f"load_balancing_strategy: nothing is known for {strategy}; the usual choice was made")
        if isinstance(several := params.get("options", {}).get("n"), int) and several > 1:
            warnings.append(f"options: of {several} answers (n) the first is taken")
        warnings += warnings_about(params.get("options", ()), self._backend.options, self._backend.name)
        for warning in warnings:
            call.log(warning, "warning")
        return warnings

    async def _batch(self, call: Call, params: dict[str, Any], kind: str, account: Account) -> dict[str, Any]:
        """One request for each file. A file's failure is its own, unless none goes well."""
        if "session_id" in params:
            raise InvalidParams("batch_mode and session_id do not go together")
        items = await asyncio.to_thread(items_of, params, self._files_of(params))

        async def ask(item: dict[str, Any]) -> dict[str, Any]:
            return await self._conversed(call, item, kind, Watch(None), account, patient=True)

        wire = await run_batch(items, ask, self._backend.capacity, call.progress)
        used = account.usage
        return wire | {"usage": usage_wire(used), "tokens_used": used.total_tokens if used is not None else 0}

    async def _conversed(
        self,
        call: Call,
        params: Mapping[str, Any],
        kind: str,
        watch: Watch,
        account: Account,
        *,
        patient: bool = False,
    ) -> dict[str, Any]:
        """One question and its answer, as they stand on the wire; `patient` waits where a limit is reached."""
        if _reads_files(params):
            request = await asyncio.to_thread(chat_request, params, "", self._files_of(params))
        else:
            request = chat_request(params, "", self._files)
        if kind == "vision" and not any(message.images for message in request.messages):
            raise BadRequest("llm/vision needs an image: image_path, image_paths, image_data or images")
        session_id = params.get("session_id", "")
        asked = request.messages
        request = replace(request, messages=_continued(self._sessions.history(session_id), asked))
        exchange = Exchange(self, call, watch, patient=patient, pull=bool(params.get("pull")))

        async def ask(model: str) -> tuple[ChatResult, dict[str, Any]]:
            watch.begin()
            return await exchange.run(replace(request, model=model))

        models = await self._models_for(params, kind)
        result, extra = await first_that_can(models, ask, lambda words: call.log(words, "warning"))
        result = replace(result, usage=account.usage, warnings=(*result.warnings, *_about(result)))
        if session_id:
            self._sessions.add(session_id, (*asked, _said(result)))
        said = chat_wire(result, self._backend.name, watch.timings_ms(), offered_tools=bool(request.tools))
        return said | extra

    async def _models_for(self, params: Mapping[str, Any], kind: str) -> tuple[str, ...]:
        """Those to try, in order."""
        named = (
            params.get("model") or self._settings.default_models.get(kind) or self._settings.default_models.get("chat")
        )
        if named:
            return (named,) if isinstance(named, str) else tuple(named)
        names = [model.name for model in await self._backend.models()]
        if len(names) == 1:
            return (names[0],)
        usual = next((name for name in _USUAL.get(kind, ()) if not {name, f"{name}:latest"}.isdisjoint(names)), "")
        if usual:
            return (usual,)
        raise ModelNotFound(f"no model is named; {self._backend.name} {_has(names)}", {"models": names})

    async def ask(self, request: ChatRequest, on_delta: OnDelta, *, patient: bool) -> ChatResult:
        """One request, within the limits. Raises RateLimited, or waits if it is `patient`."""
        while True:
            try:
                reserved = self._limits.reserve(request.model, _tokens(request), time.monotonic())
                result = await self._sent(request.model, self._backend.chat(request, on_delta))
            except RateLimited as error:
                if not patient:
                    raise
                await asyncio.sleep(error.retry_after_seconds)
            except ModelNotFound as error:
                raise await self._explained(error, request.model) from None
            else:
                self._limits.settle(reserved, result.usage.total_tokens if result.usage else None)
                return result

    async def pull(self, call: Call, model: str) -> bool:
        """Fetch a model that is missing; False if this back end cannot."""
        if not isinstance(self._backend, Puller):
            return False
        await self._backend.pull(model, lambda done, total, message: call.progress(done, total, message))
        return True

    async def _embedded(self, request: EmbedRequest) -> EmbedResult:
        tokens = sum(map(len, request.inputs)) // CHARACTERS_PER_TOKEN
        reserved = self._limits.reserve(request.model, tokens, time.monotonic())
        try:
            result = await self._sent(request.model, self._backend.embed(request))
        except ModelNotFound as error:
            raise await self._explained(error, request.model) from None
        self._limits.settle(reserved, result.usage.total_tokens if result.usage else None)
        return result

    async def _sent(self, model: str, answer: Awaitable[_Result]) -> _Result:
        """What the server answers; when it has too much to do, others hear of it here."""
        try:
            result = await answer
        except RateLimited as error:
            self._limits.close(model, error, time.monotonic())
            raise
        note(result.usage)
        return result

    async def _explained(self, error: ModelNotFound, model: str) -> ModelNotFound:
        """The same, with the models that there are."""
        data = {"model": model, **(error.data or {})}
        if "models" not in data:
            try:
                data["models"] = [info.name for info in await self._backend.models()]
            except GleitzeitError:
                return ModelNotFound(error.message, data)
        names = data["models"]
        if model in names:  # and yet it cannot be asked: the server knows why
            return ModelNotFound(error.message, data)
        suggestion = near(model, names)
        message = f"{self._backend.name} has no model '{model}'; it {_has(names)}"
        message += f" (did you mean '{suggestion}'?)" if suggestion else ""
        message += f". What helps: {data['hint']}" if "hint" in data else ""
        return ModelNotFound(message, data)


@asynccontextmanager
async def _served(call: Call, params: Mapping[str, Any]) -> AsyncIterator[Account]:
    """Within its time, and with an account of what it spends."""
    seconds = params.get("timeout")
    with opened(call.meta.budget) as account:
        try:
            async with asyncio.timeout(seconds):
                yield account
        except TimeoutError:
            raise TaskTimeout(f"took longer than {in_words(seconds or 0)}") from None


def _reads_files(params: Mapping[str, Any]) -> bool:
    """Whether making a request of them may take a while."""
    messages = params.get("messages", ())
    return bool(params.keys() & _FILE_PARAMS) or any(
        "images" in message or isinstance(message.get("content"), list) for message in messages
    )


def _continued(history: tuple[Message, ...], asked: tuple[Message, ...]) -> tuple[Message, ...]:
    """System messages stay first."""
    system = tuple(message for message in asked if message.role == "system")
    return (*system, *history, *(message for message in asked if message.role != "system")) if history else asked


def _about(result: ChatResult) -> tuple[str, ...]:
    """What else there is to say of an answer: one of a model that thinks may be empty, and nothing is wrong."""
    if result.content or result.tool_calls or result.finish_reason != "length":
        return ()
    return ("max_tokens was used up before the answer began: by thoughts, perhaps; raise it",)


def _said(result: ChatResult) -> Message:
    return Message(
        role="assistant",
        content=result.content,
        tool_calls=result.tool_calls,
        reasoning=result.reasoning,
        thinking_blocks=result.thinking_blocks,
    )


def _tokens(request: ChatRequest) -> int:
    characters = sum(len(message.content) for message in request.messages)
    return characters // CHARACTERS_PER_TOKEN + (request.max_tokens or 0)


def _has(names: Sequence[str]) -> str:
    if not names:
        return "has none"
    return f"has {', '.join(names[:_MODELS_SHOWN])}{', …' if len(names) > _MODELS_SHOWN else ''}"
