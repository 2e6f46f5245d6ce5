"""One job, in the process that was forked for it: set the scene, run the code, tell what came of it.

Everything here may meet code of a stranger, and none of it runs in the provider or in the zygote.
"""

import ast
import atexit
import builtins
import contextlib
import inspect
import os
import sys
import threading
import time
import tokenize
import traceback
import types
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Raw

from gleitzeit.errors import ParameterError
from gleitzeit.spec.references import code, script
from gz_provider_python import fence, functions, limits, results, traces
from gz_provider_python.wire import Failure, Job, Limits, Report

CODE_NAME = "<code>"
"""What tracebacks call source that is in no file."""


def run(job: Job) -> Report:
    """Do the job. Failures of the script are in the report; what is raised is a fault of ours."""
    stage = _Stage()
    try:
        _prepare(job)
        stage.name = "running"
        report = _KINDS[job.kind](job, stage)
    except BaseException as error:  # noqa: BLE001 - the script is a stranger, and may raise anything
        report = Report(failure=_presentable(_failure(error, stage)))
    _finish()
    return report


def warm_up() -> None:
    """Do once what every job does: what Python builds when it first parses, compiles or formats is there afterwards."""
    job = Job(kind="execute", limits=Limits(), working_dir="/", variables={"a": {"b": [1]}}, environment={"A": "b"})
    msgspec.json.decode(msgspec.json.encode(job), type=Job)
    bound = code.bind("import math\ndef f(x: int = 1):\n  return [x]\nresult = {'a': f'{1}'}", {})
    script.compile_script(bound.tree, CODE_NAME)
    script.compile_imports(["math as m"], CODE_NAME)
    msgspec.json.encode(_result({"a": [1, None]}))
    try:
        raise ValueError
    except ValueError as error:
        _failure(error, _Stage())


class _Stage:
    """How far a job has come, which decides what an exception means."""

    def __init__(self) -> None:
        self.name: Literal["preparing", "compiling", "running"] = "preparing"
        self.globals: dict[str, Any] = {}


def _prepare(job: Job) -> None:
    _set_environment(job.environment)
    os.chdir(job.working_dir)
    sys.path[:0] = [str(Path(job.path).parent) if job.path else job.working_dir, *_python_path(job.environment)]
    sys.argv = [job.path or "-c"]
    limits.apply(job.limits)
    if job.untrusted:
        fence.put_up(job.working_dir)


def _python_path(environment: dict[str, str]) -> list[str]:
    """What an interpreter that started here would look at; the zygote has started long ago."""
    return [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]


def _set_environment(wanted: dict[str, str]) -> None:
    """Only what differs is touched: most of it is as the zygote has it."""
    if os.environ.get("TZ") != wanted.get("TZ"):
        os.environ["TZ"] = wanted.get("TZ", "")
        time.tzset()
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _finish() -> None:
    """What the interpreter does at its end: wait for threads, run what was registered, write what is buffered."""
    _join_threads()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the script may have closed or replaced it
            stream.flush()


def _join_threads() -> None:
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _execute(job: Job, stage: _Stage) -> Report:
    stage.name = "compiling"
    filename, source = _source(job)
    traces.remember_source(filename, source)
    bound = code.bind(source, job.bindings)
    compiled = script.compile_script(bound.tree, filename)
    imports = script.compile_imports(job.imports, "<imports>")
    stage.name = "running"
    namespace = _namespace(job, stage, filename, bound.variables)
    returned = None
    try:
        exec(imports, namespace)
        if script.is_coroutine(compiled):
            _awaited(eval(compiled, namespace))
        else:
            exec(compiled, namespace)
    except script.TopLevelReturn as end:
        returned = end.value
    except SystemExit as end:
        if _exit_code(end) != 0:
            raise
    _join_threads()  # one of them may still be working on the result
    if returned is not None:
        return _result(returned)
    return _result(namespace["result"]) if "result" in namespace else Report()


def _call_function(job: Job, stage: _Stage) -> Report:
    function = functions.find(Path(job.functions_dir), job.function)
    value = function(*job.args, **job.kwargs)
    return _result(_awaited(value) if inspect.iscoroutine(value) else value)


def _awaited(value: Coroutine[Any, Any, object]) -> object:
    import asyncio  # only here: half of the memory of a script that does not need it

    return asyncio.run(value)


def _evaluate(job: Job, stage: _Stage) -> Report:
    stage.name = "compiling"
    traces.remember_source(CODE_NAME, job.code)
    bound = code.bind(job.code, job.bindings, "eval")
    compiled = compile(bound.tree, CODE_NAME, "eval", dont_inherit=True)
    stage.name = "running"
    return _result(eval(compiled, _namespace(job, stage, CODE_NAME, bound.variables)))


def _validate(job: Job, stage: _Stage) -> Report:
    """`{is_valid, errors: [{line, column, message}]}`; the parser stops at the first error."""
    stage.name = "compiling"
    errors = []
    try:
        filename, source = _source(job)
        script.compile_script(ast.parse(source, filename), filename)
    except SyntaxError as error:
        errors.append({"line": error.lineno or 1, "column": error.offset or 1, "message": error.msg})
    except (ValueError, RecursionError, MemoryError) as error:
        errors.append({"line": 1, "column": 1, "message": str(error) or "too deeply nested"})
    return _result({"is_valid": not errors, "errors": errors})


def _describe(job: Job, stage: _Stage) -> Report:
    """`{name, type, signature?, description?, module?}` of a function."""
    function = functions.find(Path(job.functions_dir), job.function)
    told = {"name": job.function, "type": type(function).__name__, "module": getattr(function, "__module__", None)}
    with contextlib.suppress(ValueError, TypeError):  # builtins may have no signature to be read
        told["signature"] = str(inspect.signature(function))
    documentation = inspect.getdoc(function)
    if documentation:
        told["description"] = documentation
    return _result({key: value for key, value in told.items() if value is not None})


_KINDS: dict[str, Callable[[Job, _Stage], Report]] = {
    "execute": _execute,
    "function": _call_function,
    "eval": _evaluate,
    "validate": _validate,
    "describe": _describe,
}


def _source(job: Job) -> tuple[str, str]:
    if not job.path:
        return CODE_NAME, code.dedented(job.code)
    with tokenize.open(job.path) as file:  # honours the file's coding line
        return job.path, file.read()


def _result(value: object) -> Report:
    return Report(result=Raw(results.to_json(value)), assigned=True)


def _namespace(job: Job, stage: _Stage, filename: str, bound: dict[str, object]) -> dict[str, Any]:
    """The globals of a fresh `__main__`, with what the job puts there."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    main.__dict__["workflow"] = types.SimpleNamespace(get_task_result=_results_in(job.variables.get("inputs", {})))
    main.__dict__.update(job.variables)
    main.__dict__.update(bound)
    main.__dict__.update({"__builtins__": builtins, "__file__": filename, script.RETURN: script.TopLevelReturn})
    stage.globals = main.__dict__
    return stage.globals


def _results_in(inputs: dict[str, Any]) -> Callable[[str], Any]:
    """`workflow.get_task_result(id)`, as scripts of earlier versions ask for what tasks before them came to."""

    def get_task_result(task_id: str) -> Any:
        if task_id not in inputs:
            raise LookupError(f"there is no result of {task_id!r} here; it must be one of the task's dependencies")
        return inputs[task_id]

    return get_task_result


def _failure(error: BaseException, stage: _Stage) -> Failure:
    if isinstance(error, MemoryError):
        traceback.clear_frames(error.__traceback__)  # or there is no memory left to say so
        stage.globals.clear()
    if stage.name == "preparing":
        return Failure("parameter", type(error).__name__, f"the script could not be started: {error}")
    if stage.name == "compiling":
        return _not_compiled(error)
    if isinstance(error, SystemExit):
        return _exited(error)
    if isinstance(error, results.NotSerialisable):
        return Failure("result", "NotSerialisable", str(error))
    if isinstance(error, functions.FunctionError):
        return Failure("parameter", "FunctionError", str(error))
    if isinstance(error, script.TopLevelReturn):  # from another thread or a callback of the script's
        return Failure("exception", "SyntaxError", "'return' outside function")
    return Failure(
        "exception", type(error).__name__, traces.describe(error), traces.trimmed(error),
        line=traces.last_line(error), limit=limits.met(error),
    )  # fmt: skip


def _presentable(failure: Failure) -> Failure:
    """In bounds, and text that a message can hold: what an exception says is as odd as the data that it speaks of."""
    texts = {name: traces.bounded(getattr(failure, name)) for name in ("type", "message", "traceback", "text")}
    return msgspec.structs.replace(failure, **texts)


def _not_compiled(error: BaseException) -> Failure:
    if isinstance(error, OSError):
        return Failure("parameter", type(error).__name__, f"the script cannot be read: {error}")
    if isinstance(error, ParameterError):  # a reference where no value can stand
        return Failure("parameter", "ParameterError", error.message)
    if not isinstance(error, SyntaxError):  # a null byte, or nesting beyond what the compiler bears
        return Failure("syntax", type(error).__name__, str(error) or traces.describe(error), line=1, column=1)
    line, column = error.lineno or 1, error.offset or 1
    text = (error.text or "").rstrip("\n")
    pointer = f"\n    {text}\n    {' ' * (column - 1)}^" if text else ""
    name = type(error).__name__
    message = f"{name}: {error.msg} (line {line}, column {column}){pointer}"
    return Failure("syntax", name, message, line=line, column=column, text=text)


def _exited(error: SystemExit) -> Failure:
    """`sys.exit("text")` prints the text and is exit code 1, as in the interpreter."""
    said = "" if error.code is None or isinstance(error.code, int) else str(error.code)
    if said:
        print(said, file=sys.stderr)
    exit_code = _exit_code(error)
    message = f"the script ended with exit code {exit_code}" + (f": {said}" if said else "")
    return Failure("exit", "SystemExit", message, exit_code=exit_code)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1
