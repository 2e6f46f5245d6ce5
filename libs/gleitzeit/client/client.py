"""What a Python program holds: a coordinator, found or started, and what is most often asked of it."""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Literal, Self

from msgspec.structs import replace

from gleitzeit.client import batch as batches
from gleitzeit.client import needs, served
from gleitzeit.client.asking import chat_params, given, python_params, task_document, text_of, vision_params
from gleitzeit.client.batch import BatchResult, OnProgress
from gleitzeit.client.connecting import OPEN_SECONDS, Place
from gleitzeit.client.coordinator import Coordinator, OnItem
from gleitzeit.client.documents import Defaults, Prepared, Workflow, defaults_of, prepare_workflow
from gleitzeit.client.models import with_what_is_at_hand
from gleitzeit.client.views import Json, Submitted, WorkflowResult
from gleitzeit.client.watch import StreamItem
from gleitzeit.config import home_folder, load_config
from gleitzeit.errors import ConfigurationError, GleitzeitError
from gleitzeit.model.definition import Definition
from gleitzeit.process.absent import NotRunning
from gleitzeit.process.batch_ids import new_batch_id
from gleitzeit.process.reach import Reach, Target, for_providers, running, started, target_of
from gleitzeit.spec.problems import document_error, located
from gleitzeit.spec.references.references import escape

Mode = Literal["auto", "api", "native"]
MODES = ("auto", "api", "native")


class Client(Coordinator):
    """`async with Client() as client: print(await client.chat("Why is the sky blue?"))`

    Which coordinator: that at `url`; else, by `mode`:

    - `auto`: the one that is configured (GLEITZEIT_COORDINATOR, config.yaml) or runs here, else an embedded stack,
      which ends when its last client has left and nothing runs;
    - `api`: only one that is configured or runs, else NotRunning is raised;
    - `native`: the stack of the state folder, whatever is configured elsewhere.

    It is looked for when it is first needed. `state` is the state folder, `providers` what an embedded stack starts (by
    default what is configured, and a model if this machine has one), `settings` are further ones, by the names that
    `gz config show` has. `environ` is what `${env.X}` and a stack of ours read. `tls` says whom to trust at a wss://
    url (`gleitzeit.transport.trust`), by default whom the system trusts.

    Every method raises the exception that stands for the coordinator's error (`gleitzeit.errors`), and ConnectionLost
    if the socket closes before the answer. Close it, or use `async with`: workflows go on without it, and whoever asks
    it for more gets a RuntimeError.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        mode: Mode = "auto",
        state: str | os.PathLike[str] | None = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        providers: Sequence[str] | None = None,
        settings: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        open_timeout_seconds: float = OPEN_SECONDS,
    ) -> None:
        if mode not in MODES:
            raise ConfigurationError(f"there is no mode {mode!r}; there are {', '.join(MODES)}")
        if url is not None and mode == "native":
            raise ConfigurationError("a native client starts its own coordinator: it takes no url")
        if url is None:
            super().__init__(None, self._look)
        else:
            super().__init__(Place(url, token, tls, open_timeout_seconds))
        self.mode = mode
        self._reach: Reach | None = None
        self._environ = os.environ if environ is None else environ
        self._settings = {
            **(settings or {}),
            **({} if state is None else {"state_dir": os.fspath(state)}),
            **({} if token is None else {"token": token}),
            **({} if providers is None else {"providers": list(providers)}),
        }
        self._chooses_providers = providers is None and "providers" not in self._settings
        self._target: Target | None = None
        self._wanted: Definition | None = None
        """What is to be submitted as soon as there is a coordinator."""

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        open_timeout_seconds: float = OPEN_SECONDS,
    ) -> Self:
        """Connect now. Raises ConnectionLost if nobody answers there, Unauthorized if the token is not accepted,
        ConfigurationError if the certificate is not trusted."""
        client = cls(url, token=token, tls=tls, open_timeout_seconds=open_timeout_seconds)
        await client._connected()
        return client

    # Finding it

    def _configured(self) -> Target:
        if self._target is None:
            config = load_config(self._environ, home_folder(), self._settings)
            target = target_of(config)
            self._environ = {**self._environ, **for_providers(config)}
            local = self.mode == "native" or ("state_dir" in self._settings and "coordinator_url" not in self._settings)
            self._target = replace(target, url=None) if local else target
        return self._target

    async def _look(self) -> Reach:
        """Raises NotRunning where only a running one will do, NotAllowed for commands that nobody has allowed."""
        target = self._configured()
        try:
            self._reach = running(target)
        except NotRunning:
            if self.mode == "api":
                raise
            if self._wanted is not None:
                target = needs.with_providers(target, self._wanted)
            if self._chooses_providers:
                target = await asyncio.to_thread(with_what_is_at_hand, target, self._environ)
            self._reach = started(target, self._environ)
        return self._reach

    # Workflows

    def prepare(self, workflow: Workflow, inputs: Mapping[str, object] | None = None) -> Prepared:
        """Read and complete a document, as `submit` does. Raises DocumentError with all problems."""
        if isinstance(workflow, Prepared):
            return workflow
        target = self._target if self._find is None else self._configured()
        defaults = defaults_of(target) if target is not None else Defaults()
        prepared = prepare_workflow(workflow, environ=self._environ, defaults=defaults, inputs=inputs or {})
        if prepared.checked is None:
            error = document_error(located(prepared.errors, prepared.document), prepared.document.name)
            error.add_note(prepared.rendered())  # which a traceback shows
            raise error
        return prepared

    async def submit(
        self,
        workflow: Workflow,
        inputs: Mapping[str, object] | None = None,
        *,
        idempotency_key: str | None = None,
        hold: bool = False,
    ) -> Submitted:
        """Hand a workflow over: a path, the text of a document (anything with a line break), a dict, or what `prepare`
        gave. Durable when it returns. With `hold` nothing starts before `resume`; the same key with the same body makes
        no second workflow. Raises DocumentError; NoModel or NoProvider if nobody serves what it calls."""
        prepared = self.prepare(workflow, inputs)
        await self._served(prepared)
        await self.bring(prepared.files)
        return await self.submit_definition(
            prepared.definition, inputs=inputs, idempotency_key=idempotency_key, hold=hold
        )

    async def _served(self, prepared: Prepared) -> None:
        """Until there is a coordinator, and somebody who serves what is to run. Raises NoModel and NoProvider."""
        self._wanted = prepared.checked
        await self._connected()
        if prepared.checked is not None:
            reach = self._reach or Reach(Target(Path(), url=self.url))
            await served.require(self, prepared.checked, reach)

    async def run_workflow(
        self,
        workflow: Workflow,
        inputs: Mapping[str, object] | None = None,
        *,
        timeout_seconds: float | None = None,
        idempotency_key: str | None = None,
        on_item: OnItem | None = None,
    ) -> WorkflowResult:
        """Submit and wait. That a workflow failed is a result: `result.raise_for_status()` makes it an exception.

        `on_item` hears what `watch` gives. Raises TimeoutError after `timeout_seconds`; the workflow goes on.
        """
        submitted = await self.submit(workflow, inputs=inputs, idempotency_key=idempotency_key)
        return await self.wait(submitted, timeout_seconds=timeout_seconds, on_item=on_item)

    # Single tasks

    async def run_task(
        self, method: str, params: Mapping[str, object] | None = None, *, timeout_seconds: float | None = None
    ) -> Json:
        """Call one method as a workflow of one task: its whole result. `params` are values, never read for references.

        Raises the error of the task, and TimeoutError. Who stops waiting cancels it: nobody would read the answer.
        """
        definition, inputs = task_document(method, params or {})
        submitted = await self.submit(definition, inputs=inputs)
        result = await self._wait_or_cancel(submitted.workflow_id, timeout_seconds)
        return next(iter(result.raise_for_status().results.values()))

    async def _wait_or_cancel(self, workflow_id: str, timeout_seconds: float | None) -> WorkflowResult:
        try:
            return await self.wait(workflow_id, timeout_seconds=timeout_seconds)
        except (TimeoutError, asyncio.CancelledError):
            with suppress(GleitzeitError):
                await asyncio.shield(self.cancel(workflow_id, reason="nobody waits for the answer any more"))
            raise

    async def chat(
        self,
        prompt: str | Sequence[Mapping[str, object]],
        model: str | None = None,
        system: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        session_id: str | None = None,
        *,
        timeout_seconds: float | None = None,
        **params: Json,
    ) -> str:
        """The answer of a model to a question, or to a list of messages. `params` are further ones of `llm/chat`."""
        asked = chat_params(prompt, model, system, temperature, max_tokens, session_id, params)
        return text_of(await self.run_task("llm/chat", asked, timeout_seconds=timeout_seconds))

    async def chat_stream(
        self,
        prompt: str | Sequence[Mapping[str, object]],
        model: str | None = None,
        system: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        session_id: str | None = None,
        **params: Json,
    ) -> AsyncGenerator[str, None]:
        """As `chat`, piece by piece as the answer grows. Who leaves early cancels it."""
        asked = chat_params(prompt, model, system, temperature, max_tokens, session_id, params)
        definition, inputs = task_document("llm/chat", asked)
        workflow_id = (await self.submit(definition, inputs=inputs)).workflow_id
        ended, attempt, shown = False, 0, ""
        try:
            async with aclosing(self.watch(workflow_id)) as items:
                async for item in items:
                    if isinstance(item, StreamItem):
                        shown = shown + item.delta if item.attempt == attempt else item.delta
                        attempt = item.attempt
                        yield item.delta
            ended = True
        finally:
            if not ended:
                with suppress(GleitzeitError):
                    await asyncio.shield(self.cancel(workflow_id, reason="nobody reads the answer any more"))
        result = (await self.result(workflow_id)).raise_for_status()
        whole = text_of(next(iter(result.results.values())))
        if whole.startswith(shown) and whole != shown:  # a provider that does not stream, and what came late
            yield whole[len(shown) :]

    async def vision(
        self,
        image_path: str | os.PathLike[str] | bytes,
        prompt: str = "What is in this image?",
        model: str | None = None,
        *,
        timeout_seconds: float | None = None,
        **params: Json,
    ) -> str:
        """What a model says about an image: a file, which is read here, or its bytes."""
        asked = await asyncio.to_thread(vision_params, image_path, prompt, model, params)
        return text_of(await self.run_task("llm/vision", asked, timeout_seconds=timeout_seconds))

    async def execute_python(
        self,
        code: str | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
        context: Mapping[str, object] | None = None,
        args: Sequence[object] | Mapping[str, object] | None = None,
        timeout_seconds: float | None = None,
        **params: Json,
    ) -> Json:
        """The value that a script gives: its `result`, or what it printed. A `file` is read here.

        `timeout_seconds` is for the script. Raises TaskError with its traceback.
        """
        asked, source = await asyncio.to_thread(python_params, code, file, context, args, timeout_seconds, params)
        definition, inputs = task_document("python/execute", asked, source=source)
        submitted = await self.submit(definition, inputs=inputs)
        result = (await self._wait_or_cancel(submitted.workflow_id, None)).raise_for_status()
        return result.value(next(iter(result.results)))

    # Batches

    async def batch_process(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        files: Sequence[str | os.PathLike[str]] = (),
        pattern: str = "*",
        method: str = "llm/chat",
        prompt: str | None = None,
        model: str | None = None,
        max_concurrent: int | None = None,
        batch_id: str | None = None,
        protocol: str | None = None,
        on_progress: OnProgress | None = None,
        **params: Json,
    ) -> BatchResult:
        """One question about each of many files: those of a folder (`**` in the pattern goes down into folders), and
        `files`. They are read here. `prompt` and `params` may read `${item.path}`, `${item.name}`, `${item.content}`;
        if none does, the file goes along as its method takes it.

        That files failed is in the result. A second run with the same `batch_id` does only what is missing, failed or
        changed. Raises DocumentError for a folder that is not there, and what `submit` raises.
        """
        batch_id = batch_id or new_batch_id()
        template: dict[str, Json] = {"method": method, **given(protocol=protocol, prompt=prompt, model=model), **params}
        document = batches.batch_document(
            batch_id,
            template,
            directory=None if directory is None else os.fspath(directory),
            files=[os.fspath(file) for file in files],
            pattern=pattern,
            max_parallel=max_concurrent,
        )
        prepared = await asyncio.to_thread(self.prepare, document)
        await self._served(prepared)
        asked = {**template, **given(directory=document["batch"].get("directory"), pattern=pattern)}
        return await batches.run_batch(self, prepared, batch_id, asked, on_progress)

    async def batch_chat(
        self, directory: str | os.PathLike[str] | None = None, prompt: str = "Summarise this file.", **options: Any
    ) -> BatchResult:
        """`batch_process` of texts."""
        return await self.batch_process(directory, prompt=prompt, **options)

    async def batch_vision(
        self, directory: str | os.PathLike[str] | None = None, prompt: str = "What is in this image?", **options: Any
    ) -> BatchResult:
        """`batch_process` of images."""
        return await self.batch_process(directory, prompt=prompt, method="llm/vision", **options)

    async def batch_python(
        self,
        directory: str | os.PathLike[str] | None = None,
        code: str | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> BatchResult:
        """`batch_process` by a script, which finds `file_path`, `file_name` and `content` in its `context`."""
        _, source = await asyncio.to_thread(python_params, code, file, None, None, None, {})
        return await self.batch_process(directory, method="python/execute", code=escape(source or ""), **options)
