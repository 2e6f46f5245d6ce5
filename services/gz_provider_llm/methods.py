"""llm/v1 as a provider serves it, over whichever back end: params in, requests out, one shape of result back."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.errors import GleitzeitError, InvalidParams, TaskTimeout
from gleitzeit.provider import Call, Provider
from gleitzeit.schemas.words import near
from gz_provider_llm.backend import Backend, Follower, OnDelta, Puller
from gz_provider_llm.batch import items_of, run_batch
from gz_provider_llm.errors import (
    BadOutput,
    BadRequest,
    LlmError,
    ModelNotFound,
    RateLimited,
    Unauthorized,
    UnreadableOutput,
)
from gz_provider_llm.files import Files
from gz_provider_llm.known_options import warnings_about
from gz_provider_llm.limits import Limits, Rate
from gz_provider_llm.requests import ChatRequest, EmbedRequest, Message, chat_request, embed_request
from gz_provider_llm.results import ChatResult, EmbedResult, Usage, chat_wire, embed_wire, known_as, usage_wire
from gz_provider_llm.sessions import Sessions
from gz_provider_llm.structured import TRIES, Format, ask_again

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

_T = TypeVar("_T")


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


class _Watch:
    """Takes the time of an answer, and passes its text on to those who watch."""

    def __init__(self, say: OnDelta | None) -> None:
        self._say = say
        self._began = time.perf_counter()
        self._first: float | None = None

    def on_delta(self, text: str) -> None:
        if self._first is None:
            self._first = time.perf_counter()
        if self._say is not None:
            self._say(text)

    def begin(self) -> None:
        """An answer begins. Who watches has no use for one after a part of another."""
        if self._first is not None:
            self.hush()

    def hush(self) -> None:
        """What comes now is not for those who watch."""
        self._say = None

    def timings_ms(self) -> dict[str, float]:
        total = {"total": (time.perf_counter() - self._began) * 1000}
        return total if self._first is None else total | {"first_token": (self._first - self._began) * 1000}


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
        async with _within(params.get("timeout")):
            request = await asyncio.to_thread(embed_request, params, "", self._files_of(params))

            async def embed(model: str) -> EmbedResult:
                return await self._embedded(replace(request, model=model))

            result = await self._first_that_can(call, await self._models_for(params, "embeddings"), embed)
        wire = embed_wire(result, self._backend.name, (time.perf_counter() - began) * 1000)
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
        async with _within(params.get("timeout")):
            if params.get("batch_mode"):
                wire = await self._batch(call, params, kind)
            else:
                say = call.stream if params.get("stream", True) else None
                wire = await self._conversed(call, params, kind, _Watch(say), patient=False)
        warnings += wire.get("warnings", ())
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

    async def _batch(self, call: Call, params: dict[str, Any], kind: str) -> dict[str, Any]:
        """One request for each file. A file's failure is its own, unless none goes well."""
        if "session_id" in params:
            raise InvalidParams("batch_mode and session_id do not go together")
        items = await asyncio.to_thread(items_of, params, self._files_of(params))

        async def ask(item: dict[str, Any]) -> dict[str, Any]:
            return await self._conversed(call, item, kind, _Watch(None), patient=True)

        return await run_batch(items, ask, self._backend.capacity, call.progress)

    async def _conversed(
        self, call: Call, params: Mapping[str, Any], kind: str, watch: _Watch, *, patient: bool
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
        exchange = _Exchange(self, call, watch, patient=patient, pull=bool(params.get("pull")))

        async def ask(model: str) -> tuple[ChatResult, dict[str, Any]]:
            watch.begin()
            return await exchange.run(replace(request, model=model))

        result, extra = await self._first_that_can(call, await self._models_for(params, kind), ask)
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

    async def _first_that_can(self, call: Call, models: Sequence[str], ask: Callable[[str], Awaitable[_T]]) -> _T:
        """With another model the same call may go well, whatever is wrong; but not with the same key."""
        failed: dict[str, LlmError | RateLimited] = {}
        for model, following in itertools.pairwise((*models, "")):
            try:
                return await ask(model)
            except (LlmError, RateLimited) as error:
                failed[model] = error
                if len(models) == 1 or isinstance(error, Unauthorized):
                    break
                call.log(f"{model}: {error.message}" + (f"; now {following}" if following else ""), "warning")
        raise _of_all(failed)

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

    async def _sent(self, model: str, answer: Awaitable[_T]) -> _T:
        """What the server answers; when it has too much to do, others hear of it here."""
        try:
            return await answer
        except RateLimited as error:
            self._limits.close(model, error, time.monotonic())
            raise

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


class _Exchange(Struct, frozen=True):
    """The requests that one answer takes: more than one if it has to be JSON, and was not."""

    methods: LlmMethods
    call: Call
    watch: _Watch
    patient: bool = False
    pull: bool = False

    async def run(self, request: ChatRequest) -> tuple[ChatResult, dict[str, Any]]:
        """The answer, and what it adds to the result on the wire."""
        if not request.json:
            return await self._ask(request, patient=self.patient), {}
        return await self._ask_for_json(request, Format(request.json_schema))

    async def _ask_for_json(self, request: ChatRequest, wanted: Format) -> tuple[ChatResult, dict[str, Any]]:
        used: list[Usage | None] = []
        for tries in range(1, TRIES + 1):
            # What has been paid for is not thrown away because a limit is reached.
            try:
                result = await self._ask(request, patient=self.patient or tries > 1)
            except UnreadableOutput as error:
                if tries == TRIES:
                    raise
                request = self._once_more(request, tries, "", (error.message,))
                continue
            used.append(result.usage)
            if result.tool_calls and not result.content:
                return result, {}
            parsed = wanted.parse(result.content)
            if not parsed.problems:
                return replace(result, usage=_sum(used)), {"json": parsed.value}
            if result.finish_reason == "length":
                raise _bad_output("the answer was cut off: raise max_tokens", result, parsed.problems, used)
            request = self._once_more(request, tries, result.content, parsed.problems)
        message = f"no valid JSON in {TRIES} tries: {'; '.join(parsed.problems)}"
        raise _bad_output(message, result, parsed.problems, used)

    def _once_more(self, request: ChatRequest, tries: int, content: str, problems: tuple[str, ...]) -> ChatRequest:
        self.watch.hush()
        self.call.log(f"no valid JSON in try {tries} of {TRIES}: {'; '.join(problems)}", "warning")
        return request.with_messages(*ask_again(content, problems))

    async def _ask(self, request: ChatRequest, *, patient: bool) -> ChatResult:
        try:
            result = await self.methods.ask(request, self.watch.on_delta, patient=patient)
        except ModelNotFound:
            if not self.pull or not await self.methods.pull(self.call, request.model):
                raise
            result = await self.methods.ask(request, self.watch.on_delta, patient=patient)
        _check_tool(request, result)
        return result


@asynccontextmanager
async def _within(seconds: float | None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TaskTimeout(f"took longer than {seconds:g} s") from None


def _of_all(failed: Mapping[str, LlmError | RateLimited]) -> LlmError | RateLimited:
    """What the failures of several models are together: that of the one whose limit ends first, which can be waited
    for; without such a one that of the last, of those that there are here.
    """
    here = {model: error for model, error in failed.items() if not isinstance(error, ModelNotFound)} or failed
    limited = {model: error.retry_after_seconds for model, error in here.items() if isinstance(error, RateLimited)}
    last = min(limited, key=limited.__getitem__) if limited else list(here)[-1]
    error = here[last]
    if len(failed) == 1:
        return error
    others = "; ".join(f"{model}: {one.message}" for model, one in failed.items() if model != last)
    message = f"{error.message} (the other models failed, too: {others})"
    error.message = message
    return error


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


def _sum(used: Sequence[Usage | None]) -> Usage | None:
    counted = [usage for usage in used if usage is not None]
    return sum(counted[1:], counted[0]) if counted else None


def _check_tool(request: ChatRequest, result: ChatResult) -> None:
    """Raises BadOutput where a tool had to be called and was not: not every server can make its model do so."""
    if not (request.tool_name or request.tool_choice == "required"):
        return
    called = [call.name for call in result.tool_calls]
    if request.tool_name in called or (called and not request.tool_name):
        return
    wanted = f"the tool {request.tool_name}" if request.tool_name else "a tool"
    if called:
        message = f"the model called {', '.join(called)} in place of {wanted}"
    elif result.finish_reason == "length":
        message = f"the answer was cut off before {wanted} was called: raise max_tokens"
    else:
        message = f"the model answered without calling {wanted}; this server ignores tool_choice, or cannot enforce it"
    raise _bad_output(message, result, (message,), [result.usage])


def _bad_output(message: str, result: ChatResult, problems: tuple[str, ...], used: Sequence[Usage | None]) -> BadOutput:
    """With what it has cost: a budget counts that, too."""
    data = {"content": result.content, "problems": list(problems), "usage": usage_wire(_sum(used))}
    return BadOutput(message, data)


def _has(names: Sequence[str]) -> str:
    if not names:
        return "has none"
    return f"has {', '.join(names[:_MODELS_SHOWN])}{', …' if len(names) > _MODELS_SHOWN else ''}"
