"""What a script finds when it starts: variables, arguments, environment. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gleitzeit.process.children import variables as as_variables
from gz_provider_python.wire import Job

INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")


def variables(
    params: Mapping[str, Any], dependencies: Mapping[str, Any], inputs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The globals of a script.

    `context` is as given; if it was left out, each dependency's id and name stand for `{"result": …}` (a result that
    has a member of that name already, as ours do, stands for itself). `inputs` has what the workflow was given, if it
    is a task of another one, each dependency's payload, and then whatever the params say. `args` and `kwargs` are there
    if they were given.
    """
    names: dict[str, Any] = {"context": params["context"] if "context" in params else _context(dependencies)}
    payloads = {name: payload(result) for name, result in dependencies.items()}
    names["inputs"] = {**(inputs or {}), **payloads, **params.get("inputs", {})}
    return names | {name: params[name] for name in ("args", "kwargs") if name in params}


def payload(result: Any) -> Any:
    """The value inside of a result that carries one, such as that of python/execute; else the result itself."""
    return result["result"] if isinstance(result, dict) and "result" in result else result


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """`args` (by position or by name) and `kwargs` of a function's call, as a Job has them."""
    args = params.get("args", [])
    by_name = args if isinstance(args, dict) else {}
    return {"args": [] if isinstance(args, dict) else args, "kwargs": by_name | params.get("kwargs", {})}


def environment(inherited: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, str]:
    """Nothing of the provider's environment but what every program expects, and what the task asks for."""
    kept = {name: inherited[name] for name in INHERITED if name in inherited}
    return kept | as_variables(given, "environment")


def fenced(job: Job, folder: Path) -> Job:
    """The same job for code of unknown origin: no environment, half the limits, and a folder of its own."""
    return msgspec.structs.replace(job, environment={}, limits=job.limits.halved(), working_dir=str(folder))


def _context(dependencies: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: result if isinstance(result, dict) and "result" in result else {"result": result}
        for name, result in dependencies.items()
    }
