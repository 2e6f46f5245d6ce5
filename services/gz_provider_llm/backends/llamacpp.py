"""The back end for a GGUF file: llama.cpp as a child process of the provider, spoken to as to any OpenAI server.

The child starts with the first call that needs it, and again after it has died. Embeddings need a child of their own,
because llama.cpp serves either; the two share the pages of the file.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from gleitzeit.errors import ConfigurationError
from gleitzeit.process.children import Child, ChildExited, filtered_environment, start_child
from gz_provider_llm.backends.backend import OnDelta
from gz_provider_llm.backends.known_options import COMPATIBLE
from gz_provider_llm.backends.llama_server import API_KEY
from gz_provider_llm.backends.openai import OpenAI
from gz_provider_llm.errors import BadRequest, LlmError, ModelNotFound, ServerError, StreamCut, Unreachable
from gz_provider_llm.shapes.requests import ChatRequest, EmbedRequest
from gz_provider_llm.shapes.results import ChatResult, EmbedResult, ModelInfo
from gz_provider_llm.transport.http import IDLE_TIMEOUT_SECONDS, Http

CONTEXT_TOKENS: Final = (
    8192  # what a model was made for may be 131,072, which takes more memory than most machines have
)
PARALLEL: Final = 4
STOP_SECONDS: Final = 2.0
NOTICE_SECONDS: Final = 1.0  # for the end of a child to be seen
_MAGIC: Final = b"GGUF"
_CANNOT_LOAD: Final = 2  # the exit status by which llama_server says that the file is to blame
# What the child may see of our environment, besides the ordinary: what chooses and tunes the hardware.
_KEPT: Final = ("CUDA_*", "GGML_*", "HIP_*", "HSA_*", "LD_LIBRARY_PATH", "LLAMA_*", "OMP_*", "PYTHON*", "VK_*")

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class Settings(Struct, frozen=True):
    """Of one model. `parallel` requests at once share `context` tokens. None leaves a choice to llama.cpp."""

    file: Path
    alias: str
    mmproj: Path | None = None
    context: int = CONTEXT_TOKENS
    parallel: int = PARALLEL
    threads: int | None = None
    gpu_layers: int | None = None
    idle_timeout_seconds: float = IDLE_TIMEOUT_SECONDS
    long_silence_seconds: float = 0.0


class LlamaCpp:
    """Duties of the caller: `check` the settings before; `close` once."""

    name = "llamacpp"
    ignored: frozenset[str] = frozenset({"num_ctx", "load_balancing_strategy"})
    options = COMPATIBLE

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._chat = LlamaProcess(settings, embedding=False)
        self._embed = LlamaProcess(settings, embedding=True)

    @property
    def capacity(self) -> int:
        return self._settings.parallel

    async def chat(self, request: ChatRequest, on_delta: OnDelta) -> ChatResult:
        self._check_name(request.model)
        for image in (image for message in request.messages for image in message.images):
            image.base64_for(self.name)
        return await self._chat.ask(lambda client: client.chat(request, on_delta))

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        self._check_name(request.model)
        return await self._embed.ask(lambda client: client.embed(request))

    async def models(self) -> list[ModelInfo]:
        """The one; without loading it."""
        loaded = self._chat.running or self._embed.running
        size_bytes = self._settings.file.stat().st_size
        details = {"format": "gguf", "file": str(self._settings.file)}
        context = self._settings.context or None
        return [
            ModelInfo(
                name=self._settings.alias, size_bytes=size_bytes, context_tokens=context, loaded=loaded, details=details
            )
        ]

    async def close(self) -> None:
        await asyncio.gather(self._chat.close(), self._embed.close())

    def _check_name(self, model: str) -> None:
        ours = self._settings.alias
        if model != ours:
            hint = f"ask for {ours}, leave model out, or start gz-provider-llamacpp with --alias {model}"
            message = f"there is no model {model} here, only {ours} ({self._settings.file}); {hint}"
            raise ModelNotFound(message, {"model": model, "models": [ours], "hint": hint})


class LlamaProcess:
    """A llama_server as a child that is started when it is wanted. Duties of the caller: `close` once."""

    def __init__(self, settings: Settings, *, embedding: bool) -> None:
        self._settings = settings
        self._embedding = embedding
        self._starting: asyncio.Task[OpenAI] | None = None
        self._child: Child | None = None
        self._http: Http | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._alive = -1  # the end of a pipe by which the child notices that we are gone

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    async def ask(self, what: Callable[[OpenAI], Awaitable[_T]]) -> _T:
        """Of the child; of a new one if it has died before it could begin, unnoticed."""
        try:
            return await what(await self.client())
        except Unreachable:
            if self._child is not None:
                await self._child.stop(STOP_SECONDS)
        except StreamCut:
            await self._notice_end()
            raise
        return await what(await self.client())

    async def _notice_end(self) -> None:
        """If it has died: the system says so a moment later than its sockets, and the next call is to find it so."""
        if self._child is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NOTICE_SECONDS):
                    await self._child.wait()

    async def client(self) -> OpenAI:
        """Of a child that is ready; who gives up waiting for it does not stop its start.

        Raises BadRequest for a file that llama.cpp cannot load, ServerError if the child dies for another reason.
        """
        if self._starting is None or (self._starting.done() and not self.running):
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> OpenAI:
        await self._forget()
        key = secrets.token_urlsafe(24)
        environ = filtered_environment(os.environ, keep=_KEPT, add={API_KEY: key})
        self._folder = tempfile.TemporaryDirectory(prefix="gz-llamacpp-")
        log = Path(self._folder.name) / "log"
        read_end, self._alive = os.pipe()
        try:
            self._child = await start_child("llama.cpp", self._command(), environ=environ, log=log, parent_fd=read_end)
        finally:
            os.close(read_end)
        try:
            url = await asyncio.shield(self._child.ready)
        except ChildExited as error:
            raise self._why(error) from None
        logger.info("llama.cpp serves %s at %s, process %d", self._settings.file, url, self._child.pid)
        self._http = Http(
            f"{url.rstrip('/')}/v1",
            headers={"authorization": f"Bearer {key}"},
            secrets=[key],
            idle_timeout_seconds=self._settings.idle_timeout_seconds,
            long_silence_seconds=self._settings.long_silence_seconds,
        )
        return OpenAI(self._http, is_openai=False, capacity=self._settings.parallel, name=LlamaCpp.name)

    def _command(self) -> list[str]:
        settings = self._settings
        command = [sys.executable, "-m", "gz_provider_llm.backends.llama_server", "--model", str(settings.file)]
        command += ["--alias", settings.alias, "--context", str(settings.context), "--parallel", str(settings.parallel)]
        for option, value in (
            ("--mmproj", settings.mmproj),
            ("--threads", settings.threads),
            ("--gpu-layers", settings.gpu_layers),
        ):
            if value is not None:
                command += [option, str(value)]
        return [*command, "--embedding"] if self._embedding else command

    def _why(self, error: ChildExited) -> LlmError:
        if error.exit_code == _CANNOT_LOAD:
            return BadRequest(f"llama.cpp cannot load {self._settings.file}: {error.message}")
        return ServerError(error.message)

    async def close(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._forget()

    async def _forget(self) -> None:
        """What is left of a child, which may still run."""
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1
        if self._http is not None:
            await self._http.close()
            self._http = None
        if self._child is not None:
            if not self._child.running:
                logger.warning("llama.cpp has died; its last words were: %s", self._child.last_words() or "none")
            await self._child.stop(STOP_SECONDS)
            self._child = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def check(settings: Settings) -> None:
    """Raises ConfigurationError for what can never work, before anything is started."""
    if find_spec("xllamacpp") is None:
        raise ConfigurationError("llama.cpp is not installed; get it with: pip install xllamacpp")
    for file in (settings.file, settings.mmproj):
        if file is not None:
            _check_file(file)


def _check_file(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            begin = opened.read(len(_MAGIC))
    except OSError as error:
        raise ConfigurationError(f"cannot read the model {file}: {error.strerror}") from None
    if begin != _MAGIC:
        raise ConfigurationError(f"{file} is no GGUF file, which is what llama.cpp reads")
