"""As earlier versions had it: `GleitzeitClient` with their arguments and methods, and functions for one question each.

New programs use `Client`. What an argument means is what it meant; the ways in which it cannot be so are said by
`GleitzeitClient`.
"""

import os
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gleitzeit.client.batch import BatchResult
from gleitzeit.client.client import Client, Mode
from gleitzeit.client.documents import Workflow
from gleitzeit.client.views import AnyWorkflow, Json, TaskView, WorkflowResult, WorkflowRow, WorkflowView
from gleitzeit.client.watch import WatchEvent
from gleitzeit.errors import ConfigurationError

_HERE = ("127.0.0.1", "localhost")


class GleitzeitClient(Client):
    """`persistence` (sqlite, memory, redis, postgresql) with `db_path` or `redis_url` is the journal of an embedded
    stack; in memory it is gone with the client. `ollama_url` is what that stack's provider asks. `mode`, `api_host` and
    `api_port` are those of `Client` and its url, which in mode `auto` is passed over where it is on this machine and
    nobody answers; `auto_start_server` False is mode `api`. Without any of them it is `Client()`.

    What runs a workflow lives in processes of its own now, so `keep_server_running` and `native_config` have nothing to
    say any more: a warning tells.
    """

    def __init__(
        self,
        persistence: str | None = None,
        db_path: str | os.PathLike[str] | None = None,
        redis_url: str | None = None,
        ollama_url: str | None = None,
        debug: bool = False,
        *,
        mode: Mode = "auto",
        api_host: str | None = None,
        api_port: int | None = None,
        auto_start_server: bool = True,
        keep_server_running: bool | None = None,
        native_config: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        for name, value in (("keep_server_running", keep_server_running), ("native_config", native_config)):
            if value:
                warnings.warn(f"{name} has no effect any more", DeprecationWarning, stacklevel=2)
        self.folder: str | None = None
        """The state folder, where it lasts no longer than this client."""
        settings: dict[str, object] = dict(options.pop("settings", {}))
        environ = dict(options.pop("environ", None) or os.environ)
        if debug:
            settings["log_level"] = "debug"
        if ollama_url:
            environ["GLEITZEIT_OLLAMA_URL"] = ollama_url
        if api_host or api_port:
            if mode == "native":
                raise ConfigurationError("mode native goes without api_host and api_port")
            host, port = api_host or "127.0.0.1", api_port or 8765
            may_start = mode == "auto" and auto_start_server and host in _HERE
            if not may_start or _answers(host, port):
                options["url"] = f"ws://{host}:{port}/"
        elif persistence is not None or db_path is not None or redis_url is not None:
            mode = "native"
            state, settings["journal"] = self._journal(persistence, db_path, redis_url)
            options.setdefault("state", state)
        if mode == "auto" and not auto_start_server:
            mode = "api"
        super().__init__(mode=mode, settings=settings, environ=environ, **options)

    def _journal(
        self, persistence: str | None, db_path: str | os.PathLike[str] | None, redis_url: str | None
    ) -> tuple[Path | None, str]:
        """State folder (None: the usual one) and journal. A file of one's own has its folder beside it."""
        kind = persistence or ("redis" if redis_url else "sqlite")
        if kind == "memory":
            self.folder = tempfile.mkdtemp(prefix="gleitzeit-")
            return Path(self.folder), "memory:"
        if kind == "sqlite":
            if db_path is None:
                return None, "sqlite"
            path = Path(db_path).expanduser().absolute()
            return path.with_name(f"{path.name}.gleitzeit"), f"sqlite://{path}"
        return None, redis_url or kind

    async def close(self) -> None:
        await super().close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)  # its stack ends by itself; nothing of it is to stay
            self.folder = None

    # Earlier names

    async def create_workflow(
        self, name: str, tasks: Sequence[Mapping[str, object]], description: str = ""
    ) -> dict[str, Any]:
        """A document for `run_workflow`."""
        return {"name": name, "description": description, "tasks": [dict(task) for task in tasks]}

    async def run_workflow(
        self, workflow: Workflow, inputs: Mapping[str, object] | bool | None = None, watch: bool = False, **options: Any
    ) -> WorkflowResult:
        """`watch`, which was the second argument too, tells on stderr what happens meanwhile."""
        given = None if isinstance(inputs, bool) else inputs
        if watch or inputs is True:
            options.setdefault("on_item", _tell)
        return await super().run_workflow(workflow, given, **options)

    async def execute_python(
        self, code: str | None = None, context: Mapping[str, object] | None = None, **options: Any
    ) -> Json:
        """`script_file` is `file`; a first argument that is the name of one, too."""
        if (file := options.pop("script_file", None)) is not None:
            options["file"] = file
        elif code is not None and code.endswith(".py") and "\n" not in code:
            code, options["file"] = None, code
        return await super().execute_python(code, context=context, **options)

    async def submit_workflow(self, workflow: Workflow, **options: Any) -> str:
        """The id of the workflow."""
        return (await self.submit(workflow, **options)).workflow_id

    async def get_workflow_status(self, workflow_id: AnyWorkflow) -> WorkflowView:
        return await self.get(workflow_id)

    async def get_workflow_results(self, workflow_id: AnyWorkflow) -> dict[str, Json]:
        """By task."""
        return (await self.result(workflow_id)).results

    async def get_workflow_errors(self, workflow_id: AnyWorkflow) -> dict[str, str]:
        """The messages of its failed tasks."""
        found: dict[str, str] = {}
        after: int | None = 0
        while after is not None:
            page = await self.get(workflow_id, after=after)
            found |= {task.task_id: task.error.message for task in page.tasks if task.error is not None}
            after = page.next
        return found

    async def get_task_result(self, workflow_id: AnyWorkflow, task_id: str) -> TaskView:
        return await self.task(workflow_id, task_id)

    async def list_workflows(self, limit: int = 20) -> tuple[WorkflowRow, ...]:
        return (await self.list(limit=limit)).workflows

    async def execute_task(
        self, protocol: str, method: str, params: Mapping[str, object] | None = None, name: str | None = None
    ) -> Json:
        """The whole result. `method` may be the whole name, or what follows the protocol's."""
        return await self.run_task(method if "/" in method else f"{protocol.partition('/')[0]}/{method}", params)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _tell(item: object) -> None:
    if isinstance(item, WatchEvent):
        task = getattr(item.event, "task", "")
        print(f"{type(item.event).__name__} {task}".rstrip(), file=sys.stderr)


async def chat(prompt: str | Sequence[Mapping[str, object]], model: str | None = None, **options: Any) -> str:
    """`Client.chat` by a client of its own."""
    async with Client() as client:
        return await client.chat(prompt, model, **options)


async def vision(
    image_path: str | os.PathLike[str] | bytes, prompt: str = "What is in this image?", model: str | None = None,
    **options: Any,
) -> str:  # fmt: skip
    """`Client.vision` by a client of its own."""
    async with Client() as client:
        return await client.vision(image_path, prompt, model, **options)


async def run_workflow(workflow: Workflow, **options: Any) -> WorkflowResult:
    """`Client.run_workflow` by a client of its own."""
    async with Client() as client:
        return await client.run_workflow(workflow, **options)


async def execute_python(code: str | None = None, **options: Any) -> Json:
    """`GleitzeitClient.execute_python` by a client of its own."""
    async with GleitzeitClient() as client:
        return await client.execute_python(code, **options)


async def batch_process(directory: str | os.PathLike[str] | None = None, **options: Any) -> BatchResult:
    """`Client.batch_process` by a client of its own."""
    async with Client() as client:
        return await client.batch_process(directory, **options)
