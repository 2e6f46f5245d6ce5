"""The client for programs without asyncio: the same calls, each until its answer is there."""

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Self, TypeVar

from gleitzeit.client.batch import BatchResult, OnProgress
from gleitzeit.client.client import Client
from gleitzeit.client.coordinator import OnItem
from gleitzeit.client.documents import Workflow
from gleitzeit.client.views import (
    AnyWorkflow,
    Explained,
    Json,
    ProviderDetail,
    ProviderView,
    Signalled,
    State,
    Submitted,
    SystemStatus,
    TaskView,
    WorkflowPage,
    WorkflowResult,
    WorkflowView,
)
from gleitzeit.client.watch import WatchItem

T = TypeVar("T")


class Background:
    """An event loop in a thread of its own."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="connection", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Whoever waits for it hears Ctrl-C, which leaves `work` alone."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Until it is done; not to be called in the loop's own thread."""
        return self.start(work).result()


class SyncClient:
    """`with SyncClient() as client: print(client.chat("Why is the sky blue?"))`

    Takes what `Client` takes, and each method is that of `Client`. May be used from several threads. `call` reaches
    what has no method here. A KeyboardInterrupt stops the call that waits, as if it had been cancelled.
    """

    def __init__(self, url: str | None = None, **options: Any) -> None:
        self.client = Client(url, **options)
        self._background = Background().__enter__()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Workflows go on without us. Idempotent."""
        if not self._closed:
            self._closed = True
            self._background.run(self.client.close())
            self._background.__exit__()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise RuntimeError("the client is closed")
        future = self._background.start(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            with suppress(BaseException):
                future.result(timeout=5.0)
            raise

    @property
    def url(self) -> str:
        return self.client.url

    def call(self, method: str, params: object = None, *, timeout_seconds: float | None = None) -> Any:
        return self._run(self.client.call(method, params, timeout_seconds=timeout_seconds))

    # Workflows

    def submit(
        self,
        workflow: Workflow,
        inputs: Mapping[str, object] | None = None,
        *,
        idempotency_key: str | None = None,
        hold: bool = False,
    ) -> Submitted:
        return self._run(self.client.submit(workflow, inputs=inputs, idempotency_key=idempotency_key, hold=hold))

    def run_workflow(
        self,
        workflow: Workflow,
        inputs: Mapping[str, object] | None = None,
        *,
        timeout_seconds: float | None = None,
        idempotency_key: str | None = None,
        on_item: OnItem | None = None,
    ) -> WorkflowResult:
        """`on_item` is called in another thread."""
        return self._run(
            self.client.run_workflow(
                workflow,
                inputs=inputs,
                timeout_seconds=timeout_seconds,
                idempotency_key=idempotency_key,
                on_item=on_item,
            )
        )

    def wait(
        self, workflow_id: AnyWorkflow, *, timeout_seconds: float | None = None, on_item: OnItem | None = None
    ) -> WorkflowResult:
        return self._run(self.client.wait(workflow_id, timeout_seconds=timeout_seconds, on_item=on_item))

    def watch(self, workflow_id: AnyWorkflow, *, after: int = 0, stream: bool = True) -> Iterator[WatchItem]:
        items = self.client.watch(workflow_id, after=after, stream=stream)
        try:
            while (item := self._run(_next(items))) is not None:
                yield item
        finally:
            if not self._closed:
                self._run(_close(items))

    def get(self, workflow_id: AnyWorkflow, *, after: int = 0, limit: int = 1000, items_of: str = "") -> WorkflowView:
        return self._run(self.client.get(workflow_id, after=after, limit=limit, items_of=items_of))

    def result(self, workflow_id: AnyWorkflow, *, whole: bool = True) -> WorkflowResult:
        return self._run(self.client.result(workflow_id, whole=whole))

    def task(self, workflow_id: AnyWorkflow, task_id: str, *, whole: bool = True) -> TaskView:
        return self._run(self.client.task(workflow_id, task_id, whole=whole))

    def list(
        self,
        *,
        status: Sequence[str] = (),
        name: str | None = None,
        id: str | None = None,
        limit: int | None = None,
        before: tuple[int, str] | None = None,
    ) -> WorkflowPage:
        return self._run(self.client.list(status=status, name=name, id=id, limit=limit, before=before))

    def resolve_id(self, text: str) -> str:
        return self._run(self.client.resolve_id(text))

    def cancel(self, workflow_id: AnyWorkflow, *, reason: str | None = None) -> State:
        return self._run(self.client.cancel(workflow_id, reason=reason))

    def delete(self, workflow_id: AnyWorkflow) -> int:
        return self._run(self.client.delete(workflow_id))

    def pause(self, workflow_id: AnyWorkflow) -> State:
        return self._run(self.client.pause(workflow_id))

    def resume(self, workflow_id: AnyWorkflow) -> State:
        return self._run(self.client.resume(workflow_id))

    def retry(self, workflow_id: AnyWorkflow, task_id: str | None = None) -> State:
        return self._run(self.client.retry(workflow_id, task_id))

    def retry_task(self, workflow_id: AnyWorkflow, task_id: str) -> State:
        return self._run(self.client.retry_task(workflow_id, task_id))

    def signal(
        self, workflow_id: AnyWorkflow, name: str, payload: object = None, *, idempotency_key: str | None = None
    ) -> Signalled:
        return self._run(self.client.signal(workflow_id, name, payload, idempotency_key=idempotency_key))

    def explain(self, workflow_id: AnyWorkflow, task_id: str | None = None) -> Explained:
        return self._run(self.client.explain(workflow_id, task_id))

    def providers(self) -> tuple[ProviderView, ...]:
        return self._run(self.client.providers())

    def provider(self, name: str) -> ProviderDetail:
        return self._run(self.client.provider(name))

    def drain(self, name: str, instance: str | None = None, *, undo: bool = False) -> ProviderDetail:
        return self._run(self.client.drain(name, instance, undo=undo))

    def status(self) -> SystemStatus:
        return self._run(self.client.status())

    # Single tasks

    def run_task(
        self, method: str, params: Mapping[str, object] | None = None, *, timeout_seconds: float | None = None
    ) -> Json:
        return self._run(self.client.run_task(method, params, timeout_seconds=timeout_seconds))

    def chat(
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
        return self._run(
            self.client.chat(
                prompt, model, system, temperature, max_tokens, session_id, timeout_seconds=timeout_seconds, **params
            )
        )

    def chat_stream(
        self,
        prompt: str | Sequence[Mapping[str, object]],
        model: str | None = None,
        system: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        session_id: str | None = None,
        **params: Json,
    ) -> Iterator[str]:
        pieces = self.client.chat_stream(prompt, model, system, temperature, max_tokens, session_id, **params)
        try:
            while (piece := self._run(_next(pieces))) is not None:
                yield piece
        finally:
            if not self._closed:
                self._run(_close(pieces))

    def vision(
        self,
        image_path: str | os.PathLike[str] | bytes,
        prompt: str = "What is in this image?",
        model: str | None = None,
        *,
        timeout_seconds: float | None = None,
        **params: Json,
    ) -> str:
        return self._run(self.client.vision(image_path, prompt, model, timeout_seconds=timeout_seconds, **params))

    def execute_python(
        self,
        code: str | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
        context: Mapping[str, object] | None = None,
        args: Sequence[object] | Mapping[str, object] | None = None,
        timeout_seconds: float | None = None,
        **params: Json,
    ) -> Json:
        return self._run(
            self.client.execute_python(
                code, file=file, context=context, args=args, timeout_seconds=timeout_seconds, **params
            )
        )

    # Batches

    def batch_process(
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
        """`on_progress` is called in another thread."""
        return self._run(
            self.client.batch_process(
                directory,
                files=files,
                pattern=pattern,
                method=method,
                prompt=prompt,
                model=model,
                max_concurrent=max_concurrent,
                batch_id=batch_id,
                protocol=protocol,
                on_progress=on_progress,
                **params,
            )
        )


async def _next(items: Any) -> Any:
    return await anext(items, None)


async def _close(items: Any) -> None:
    await items.aclose()
