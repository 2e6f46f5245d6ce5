"""python/v1 as a provider serves it: params in, jobs to the isolation, results or errors out."""

import asyncio
import os
import platform
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gleitzeit.errors import InvalidParams, TaskError
from gleitzeit.provider import Call
from gz_provider_python import functions, outcomes, scene
from gz_provider_python.files import EXAMPLES, ScriptNotFound, find_file
from gz_provider_python.functions import FunctionError, Record
from gz_provider_python.isolation import Ended, Isolation
from gz_provider_python.limits import cpu_seconds_for
from gz_provider_python.wire import Job, Limits

TIMEOUT_SECONDS = 30.0
"""For a call of which neither the params nor the task say how long it may take."""


class Settings(Struct, frozen=True):
    """What the options of the process say. `directory` is where relative paths begin."""

    functions_dir: Path
    limits: Limits
    directory: Path


class PythonMethods:
    """The methods of python/v1, to be added to a provider."""

    def __init__(self, isolation: Isolation, settings: Settings) -> None:
        self._isolation = isolation
        self._settings = settings

    async def execute(self, call: Call, **params: Any) -> dict[str, Any]:
        path = self._script(params)
        job = Job(
            kind="function" if "function" in params else "execute",
            limits=self._settings.limits,
            working_dir=_as_text(self._working_dir(params, path)),
            code=params.get("code", ""),
            path=str(path or ""),
            function=params.get("function", ""),
            functions_dir=str(self._settings.functions_dir),
            bindings=params.get("bindings", {}),
            variables=scene.variables(params, call.meta.dependencies, call.meta.inputs),
            imports=params.get("imports", []),
            environment=scene.environment(os.environ, params.get("environment", {})),
            untrusted=call.meta.untrusted,
            **scene.arguments(params),
        )
        ended = await self._run(call, job, params.get("timeout"))
        result: dict[str, Any] = {
            "result": outcomes.value_of(ended),
            "output": ended.stdout.text(),
            "stdout": ended.stdout.text(),
            "stderr": ended.stderr.text(),
            "success": True,
            "exit_code": 0,
            "execution_time": round(ended.seconds, 6),
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        return result | {"file": str(path)} if path else result

    async def eval(self, call: Call, **params: Any) -> dict[str, Any]:
        if params.get("allow_eval") is False:
            raise TaskError("allow_eval is false: the expression was not evaluated", retryable=False)
        context = params.get("context", {})
        job = self._job(
            "eval",
            code=params["expression"],
            bindings=params.get("bindings", {}),
            variables={**context, "context": context},
            untrusted=call.meta.untrusted,
        )
        ended = await self._run(call, job, params.get("timeout"))
        return {"result": outcomes.value_of(ended), "execution_time": round(ended.seconds, 6)}

    async def validate(self, call: Call, **params: Any) -> Any:
        path = self._script(params)
        job = self._job("validate", code=params.get("code", ""), path=str(path or ""))
        return outcomes.value_of(await self._run(call, job))

    async def info(self, call: Call, **params: Any) -> Any:
        name = params.get("name") or params.get("function")
        return await self._describe(call, name) if name else self._about()

    async def register(self, call: Call, **params: Any) -> dict[str, Any]:
        """A function of a module is looked up before it gets a name; what is no function is refused."""
        if params.get("type") == "serialized" and not params.get("allow_pickle"):
            message = "a pickle runs code when it is loaded; it is refused without allow_pickle: true"
            raise TaskError(message, retryable=False)
        type_of = params.get("type") or ("lambda" if "lambda" in params else "module")
        try:
            record = msgspec.convert({**params, "type": type_of}, Record)
            functions.check_record(record)
            if record.type == "module":
                await self._describe(call, f"{record.module}.{record.function}")
            functions.save(self._settings.functions_dir, record)
        except (FunctionError, OSError) as error:
            raise TaskError(str(error), retryable=False) from error
        return {"name": record.name, "type": record.type, "registered": True}

    def list(self) -> dict[str, Any]:
        try:
            known = functions.known(self._settings.functions_dir)
        except FunctionError as error:
            raise TaskError(str(error), retryable=False) from error
        return {"functions": known, "count": len(known)}

    def _about(self) -> dict[str, Any]:
        return {
            "name": "python/v1",
            "python_version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "platform": platform.platform(),
            "isolation": type(self._isolation).__name__,
            "functions_dir": str(self._settings.functions_dir),
            "limits": msgspec.to_builtins(self._settings.limits),
        }

    async def _describe(self, call: Call, name: str) -> Any:
        return outcomes.value_of(await self._run(call, self._job("describe", function=name)))

    def _job(self, kind: Literal["eval", "validate", "describe"], **members: Any) -> Job:
        return Job(
            kind=kind,
            limits=self._settings.limits,
            working_dir=_as_text(self._settings.directory),
            functions_dir=str(self._settings.functions_dir),
            environment=scene.environment(os.environ, {}),
            **members,
        )

    async def _run(self, call: Call, job: Job, timeout_seconds: float | None = None) -> Ended:
        """Raises TaskTimeout after the timeout of the params or what remains to the task, whichever is less."""
        given = [seconds for seconds in (timeout_seconds, call.remaining_seconds) if seconds is not None]
        timeout_seconds = min(given, default=TIMEOUT_SECONDS)
        job = _with_cpu_limit(job, timeout_seconds)

        def show(stream: Literal["stdout", "stderr"], text: str) -> None:
            call.log(text.removesuffix("\n"), "info" if stream == "stdout" else "notice")

        if not job.untrusted:
            ended = await self._isolation.run(job, timeout_seconds=timeout_seconds, on_output=show)
        else:
            async with _private_folder() as folder:
                fenced = scene.fenced(job, folder)
                ended = await self._isolation.run(fenced, timeout_seconds=timeout_seconds, on_output=show)
        outcomes.check(ended, job.limits, timeout_seconds)
        return ended

    def _script(self, params: dict[str, Any]) -> Path | None:
        name = params.get("file") or params.get("file_path")
        if not name:
            return None
        here = self._settings.directory
        folders = [here, here / EXAMPLES]
        if "working_dir" in params:
            folders.insert(0, self._working_dir(params, None))
        try:
            return find_file(name, folders)
        except ScriptNotFound as error:
            raise TaskError(str(error), retryable=False) from None

    def _working_dir(self, params: dict[str, Any], script: Path | None) -> Path:
        if "working_dir" not in params:
            return script.parent if script else self._settings.directory
        folder = self._settings.directory / Path(params["working_dir"]).expanduser()
        if not folder.is_dir():
            raise InvalidParams(f"working_dir is no directory: {folder}")
        return folder


def _as_text(folder: Path) -> str:
    """Raises TaskError for a name that no message can have in it."""
    try:
        return str(folder).encode().decode()
    except UnicodeEncodeError:
        raise TaskError(f"the name of the folder {os.fsencode(folder)!r} is no UTF-8 text", retryable=False) from None


def _with_cpu_limit(job: Job, timeout_seconds: float) -> Job:
    if job.limits.cpu_seconds:
        return job
    return msgspec.structs.replace(
        job, limits=msgspec.structs.replace(job.limits, cpu_seconds=cpu_seconds_for(timeout_seconds))
    )


@asynccontextmanager
async def _private_folder() -> AsyncIterator[Path]:
    """It may be full of whatever the script wrote: emptied in a thread, so that other calls go on."""
    folder = tempfile.mkdtemp(prefix="gz-untrusted-")
    try:
        yield Path(folder)
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
