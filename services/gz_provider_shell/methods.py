"""shell/v1: one command, several joined by pipes, several one after the other."""

import os
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from gleitzeit.errors import InvalidParams, TaskError, TaskTimeout
from gleitzeit.process.children import describe_exit
from gleitzeit.process.output import Output
from gleitzeit.provider import Call
from gz_provider_shell.commands import check_allowed, environment, words_of
from gz_provider_shell.programs import Ended, Program, run

TIMEOUT_SECONDS: Final = 60.0
SHOWN_CHARACTERS: Final = 16_384
"""Of each stream in an error, from its end."""
TIMED_OUT: Final = 124
NOT_RUN: Final = 127
"""Exit codes of a command that has none, as timeout(1) and every shell have them."""


class Settings(Struct, frozen=True):
    """`allowed`: names of the programs that tasks may run, all if there are none. `folder`: the current directory."""

    folder: Path
    allowed: frozenset[str] = frozenset()


class ShellMethods:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def exec(self, call: Call, **params: Any) -> dict[str, Any]:
        program = self._program(params["command"], params, params.get("args", ()))
        ended = await self._run(call, [program], params)
        return self._result(ended, [program], params)

    async def pipe(self, call: Call, **params: Any) -> dict[str, Any]:
        programs = [self._program(one, params) for one in params["commands"]]
        ended = await self._run(call, programs, params)
        return self._result(ended, programs, params)

    async def batch(self, call: Call, **params: Any) -> dict[str, Any]:
        """Without `stop_on_error` a command that fails is a part of the result, not the end of the task."""
        stop = params.get("stop_on_error", True)
        results: list[dict[str, Any]] = []
        programs = [self._program(one, params) for one in params["commands"]]
        for number, program in enumerate(programs, 1):
            call.progress(number - 1, len(programs), shlex.join(program.words)[:200])
            if stop:
                ended = await self._run(call, [program], params)
                results.append(self._result(ended, [program], params))
            else:
                results.append(await self._tried(call, program, params))
        failed = sum(one["exit_code"] != 0 for one in results)
        return {
            "result": [one["output"] for one in results],
            "results": results,
            "successful": len(results) - failed,
            "failed": failed,
            "success": failed == 0,
        }

    async def _tried(self, call: Call, program: Program, params: dict[str, Any]) -> dict[str, Any]:
        """What came of one that may fail. Raises TaskError only when the time of the whole task is up."""
        try:
            return _described(await self._run(call, [program], params), program)
        except TaskError as error:
            if call.remaining_seconds is not None and call.remaining_seconds <= 0:
                raise
            said = {"stdout": "", "stderr": "", **(error.data or {})}
            return {
                "output": said["stdout"],
                "result": said["stdout"],
                "stdout": said["stdout"],
                "stderr": said["stderr"],
                "exit_code": TIMED_OUT if isinstance(error, TaskTimeout) else NOT_RUN,
                "success": False,
                "command": _line([program]),
                "error": error.message,
            }

    def _program(self, command: object, params: dict[str, Any], args: Sequence[object] = ()) -> Program:
        shell = bool(params.get("shell", False))
        words = words_of(command, args, shell=shell)
        check_allowed(words, self._settings.allowed)
        return Program(words, environment(os.environ, params.get("env", {})), self._folder(params))

    def _folder(self, params: dict[str, Any]) -> Path:
        folder = self._settings.folder / Path(str(params.get("working_dir", ""))).expanduser()
        if not folder.is_dir():
            raise InvalidParams(f"working_dir is no directory: {folder}")
        return folder

    async def _run(self, call: Call, programs: list[Program], params: dict[str, Any]) -> Ended:
        given = [one for one in (params.get("timeout"), call.remaining_seconds) if one is not None]
        timeout_seconds = min(given, default=TIMEOUT_SECONDS)
        show = params.get("capture_output", True)

        def on_output(stream: Literal["stdout", "stderr"], text: str) -> None:
            if show:
                call.log(text.removesuffix("\n"), "info" if stream == "stdout" else "notice")

        ended = await run(programs, str(params.get("input", "")).encode(), timeout_seconds, on_output)
        if ended.timed_out:
            message = f"{_line(programs)} did not end within {timeout_seconds:g} s and was killed"
            raise TaskTimeout(message, {**_tails(ended, kept=show), "timeout_seconds": timeout_seconds})
        return ended

    def _result(self, ended: Ended, programs: list[Program], params: dict[str, Any]) -> dict[str, Any]:
        """Raises TaskError for an exit code that is not expected; of a pipe each one counts."""
        good = set(params.get("expected_exit_codes", (0,)))
        last = len(programs) - 1
        bad = next(
            (
                at
                for at, code in enumerate(ended.exit_codes)
                if code not in good and not (code == -signal.SIGPIPE and at < last)  # who comes after has had enough
            ),
            None,
        )
        if bad is not None:
            code, line = ended.exit_codes[bad], _line(programs[bad : bad + 1])
            tails = _tails(ended, kept=params.get("capture_output", True))
            said = tails["stderr"].strip().rpartition("\n")[2][:300]
            data = {**tails, "exit_code": code, "command": line}
            raise TaskError(f"{line} {describe_exit(code)}" + (f": {said}" if said else ""), data)
        found = _described(ended, programs[-1])
        if not params.get("capture_output", True):
            found |= {"output": None, "result": None, "stdout": "", "stderr": ""}
        if len(programs) > 1:
            found |= {"exit_codes": list(ended.exit_codes), "command": _line(programs)}
        return found


def _described(ended: Ended, program: Program) -> dict[str, Any]:
    stdout = ended.stdout.text()
    output = _value(stdout, whole=ended.stdout.whole)
    return {
        "output": output,
        "result": output,
        "stdout": stdout,
        "stderr": ended.stderr.text(),
        "exit_code": ended.exit_codes[-1],
        "success": ended.exit_codes[-1] == 0,
        "execution_time": round(ended.seconds, 6),
        "command": _line([program]),
    }


def _value(text: str, *, whole: bool) -> Any:
    """JSON if it is a map or a list, else the text without its last line break."""
    stripped = text.strip()
    if whole and stripped[:1] in ("{", "["):
        try:
            return msgspec.json.decode(stripped)
        except (msgspec.DecodeError, RecursionError):
            pass
    return text.removesuffix("\n")


def _line(programs: Sequence[Program]) -> str:
    """For people."""
    return " | ".join(shlex.join(program.words) for program in programs)[:500]


def _tails(ended: Ended, *, kept: bool) -> dict[str, str]:
    return {name: _end_of(getattr(ended, name)) if kept else "" for name in ("stdout", "stderr")}


def _end_of(output: Output) -> str:
    text = output.text()
    return text if len(text) <= SHOWN_CHARACTERS else "…" + text[-SHOWN_CHARACTERS:]
