"""Jobs in real processes: what they come to, what they may use, and that nothing is left of them."""

import asyncio
import contextlib
import os
import select
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gleitzeit.errors import TaskError
from gleitzeit.process.output import MAX_KEPT_BYTES
from gz_provider_python.isolation import Ended
from gz_provider_python.processes import ProcessIsolation
from gz_provider_python.wire import MAX_REPORT_BYTES, REPORTED, Failure, Job, Limits

# Three processes that print their numbers and ignore SIGTERM; the second and the third flee into sessions of their own,
# and the third loses its parent besides.
STUBBORN = """
import subprocess, sys
stubborn = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", stubborn])
subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
subprocess.Popen([sys.executable, "-c", "import os\\nif os.fork(): os._exit(0)\\nos.setsid()\\n" + stubborn]).wait()
"""


class Jobs:
    """Runs jobs with defaults for what a test does not care about."""

    def __init__(self, isolation: ProcessIsolation, folder: Path) -> None:
        self.isolation = isolation
        self.folder = folder

    async def run(
        self,
        code: str = "",
        *,
        timeout_seconds: float = 20,
        on_output: Callable[[str, str], None] = lambda stream, text: None,
        **members: object,
    ) -> Ended:
        defaults = {
            "kind": "execute", "limits": Limits(), "working_dir": str(self.folder), "code": code,
            "functions_dir": str(self.folder / "functions"), "environment": {"PATH": "/usr/bin:/bin"},
        }  # fmt: skip
        job = Job(**{**defaults, **members})  # type: ignore[arg-type]  # the tests name them right
        return await self.isolation.run(job, timeout_seconds=timeout_seconds, on_output=on_output)


@pytest_asyncio.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[Jobs]:
    isolation = ProcessIsolation(grace_seconds=0.1)
    await isolation.start()
    yield Jobs(isolation, tmp_path)
    await isolation.close()


def value(ended: Ended) -> Any:
    assert ended.report is not None
    assert ended.report.failure is None, ended.report.failure
    return msgspec.json.decode(ended.report.result)


def failure(ended: Ended) -> Failure:
    assert ended.report is not None
    assert ended.report.failure is not None
    return ended.report.failure


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Started:
    """Collects the process numbers that a script prints, and says when there are enough."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._text = ""
        self.complete = asyncio.Event()

    def __call__(self, stream: str, text: str) -> None:
        self._text += text
        if len(self.pids) >= self._count:
            self.complete.set()

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self._text.split()]


async def cancelled_when(ready: asyncio.Event, work: "asyncio.Task[Ended]") -> None:
    await ready.wait()
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    assert work.cancelled()


# What a job comes to


async def test_a_result(jobs: Jobs) -> None:
    ended = await jobs.run("result = {'n': context['n'] + 1}", variables={"context": {"n": 1}})
    assert value(ended) == {"n": 2}
    assert (ended.exit_code, ended.timed_out) == (REPORTED, False)


async def test_a_top_level_return_comes_before_the_variable(jobs: Jobs) -> None:
    assert value(await jobs.run("result = 1\nreturn 2")) == 2
    assert value(await jobs.run("result = 1\nreturn")) == 1


async def test_no_result(jobs: Jobs) -> None:
    ended = await jobs.run("print('only this')")
    assert ended.report is not None
    assert not ended.report.assigned
    assert ended.stdout.text() == "only this\n"


async def test_conventions_of_scripts(jobs: Jobs) -> None:
    source = "\n".join(
        [
            "import sys, pickle, dataclasses",
            "@dataclasses.dataclass",
            "class P: x: int = 1",
            "copy = pickle.loads(pickle.dumps(P()))",
            "result = ['context' in locals(), __name__, sys.stdin.read(), copy.x, 'inputs' in globals()]",
        ]
    )
    ended = await jobs.run(source, variables={"context": {}, "inputs": {}})
    assert value(ended) == [True, "__main__", "", 1, True]


async def test_placeholders_are_values(jobs: Jobs) -> None:
    ended = await jobs.run(
        "result = [__ref_0__, 'say __ref_1__', f'{1}__ref_1__']",
        bindings={"__ref_0__": [1, None], "__ref_1__": "'); import os #"},
    )
    assert value(ended) == [[1, None], "say '); import os #", "1'); import os #"]


async def test_a_placeholder_out_of_place(jobs: Jobs) -> None:
    told = failure(await jobs.run("x = 1\nimport __ref_0__", bindings={"__ref_0__": "os"}))
    assert told.kind == "parameter"
    assert "line 2" in told.message


async def test_a_script_file(jobs: Jobs) -> None:
    (jobs.folder / "neighbour.py").write_text("NUMBER = 7")
    script = jobs.folder / "main.py"
    script.write_bytes(
        "# -*- coding: latin-1 -*-\nimport neighbour\nresult = [__file__, neighbour.NUMBER, 'ü']".encode("latin-1")
    )
    assert value(await jobs.run(path=str(script), working_dir="/")) == [str(script), 7, "ü"]


async def test_an_exception(jobs: Jobs) -> None:
    told = failure(await jobs.run("import json\ndef load(text):\n    return json.loads(text)\n\nload('{')"))
    assert (told.kind, told.type, told.line, told.exit_code) == ("exception", "JSONDecodeError", 3, 1)
    lines = [line for line in told.traceback.splitlines() if set(line) - set(" ~^")]  # newer ones underline the place
    assert lines[:4] == [
        "Traceback (most recent call last):",
        '  File "<code>", line 5, in <module>',
        "    load('{')",
        '  File "<code>", line 3, in load',
    ]
    assert "decoder.py" not in told.traceback


async def test_a_syntax_error(jobs: Jobs) -> None:
    told = failure(await jobs.run("x = 1\ny = (2,\n"))
    assert (told.kind, told.type, told.line, told.column, told.text) == ("syntax", "SyntaxError", 2, 5, "y = (2,")
    assert told.message.endswith("    y = (2,\n        ^")


@pytest.mark.parametrize("source", ["x = '\0'", "(" * 5000 + ")" * 5000, "x" + "+x" * 200_000])
async def test_source_that_breaks_the_parser(jobs: Jobs, source: str) -> None:
    ended = await jobs.run(source)
    assert ended.report is None or failure(ended).kind == "syntax"  # CPython 3.11 may crash here: in its own process


async def test_a_syntax_error_at_run_time_is_the_script_s(jobs: Jobs) -> None:
    told = failure(await jobs.run("compile('(', 'x', 'exec')"))
    assert told.kind == "exception"


@pytest.mark.parametrize(
    ("source", "exit_code", "stderr"),
    [("import sys; sys.exit(3)", 3, ""), ("raise SystemExit('no more')", 1, "no more\n"), ("exit(256 + 4)", 4, "")],
)
async def test_an_exit_with_a_code_fails(jobs: Jobs, source: str, exit_code: int, stderr: str) -> None:
    ended = await jobs.run(source)
    assert (failure(ended).kind, failure(ended).exit_code, ended.stderr.text()) == ("exit", exit_code, stderr)


@pytest.mark.parametrize("source", ["result = 1; import sys; sys.exit(0)", "result = 1; exit()"])
async def test_an_exit_without_a_code_is_an_end(jobs: Jobs, source: str) -> None:
    assert value(await jobs.run(source)) == 1


async def test_an_end_without_a_word(jobs: Jobs) -> None:
    ended = await jobs.run("import os; print('x', flush=True); os._exit(5)")
    assert (ended.report, ended.exit_code, ended.stdout.text()) == (None, 5, "x\n")
    ended = await jobs.run("import os; os.kill(os.getpid(), 11)")
    assert (ended.report, ended.exit_code) == (None, -signal.SIGSEGV)


async def test_a_result_that_is_no_json(jobs: Jobs) -> None:
    told = failure(await jobs.run("result = {'f': [open]}"))
    assert told.kind == "result"
    assert "result.f[0] is of type" in told.message


async def test_a_script_that_forks_has_one_result(jobs: Jobs) -> None:
    ended = await jobs.run("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nresult = pid > 0")
    assert value(ended) is True


async def test_threads_may_finish_and_exits_are_run(jobs: Jobs) -> None:
    source = "\n".join(
        [
            "import atexit, threading, time",
            "result = []",
            "threading.Thread(target=lambda: (time.sleep(0.05), result.append(1))).start()",
            "atexit.register(print, 'bye')",
        ]
    )
    ended = await jobs.run(source)
    assert (value(ended), ended.stdout.text()) == ([1], "bye\n")


async def test_imports_and_environment(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    ended = await jobs.run(
        "import os; result = [m.floor(2.5), dict(os.environ)]",
        imports=["math as m"],
        environment={"PATH": "/bin", "LEVEL": "3"},
    )
    assert value(ended) == [2, {"PATH": "/bin", "LEVEL": "3"}]


async def test_the_other_kinds(jobs: Jobs) -> None:
    assert value(await jobs.run("n * 2", kind="eval", variables={"n": 4})) == 8
    assert failure(await jobs.run("n = 2", kind="eval")).kind == "syntax"
    assert value(await jobs.run(kind="function", function="math.pow", args=[2, 3])) == 8.0
    assert failure(await jobs.run(kind="function", function="math.pwo")).kind == "parameter"
    assert value(await jobs.run("return 1", kind="validate")) == {"is_valid": True, "errors": []}
    invalid = value(await jobs.run("x = 1\nx = (", kind="validate"))
    assert (invalid["is_valid"], invalid["errors"][0]["line"], invalid["errors"][0]["column"]) == (False, 2, 5)
    assert value(await jobs.run(kind="describe", function="textwrap.shorten"))["signature"] == "(text, width, **kwargs)"


async def test_a_coroutine_function_is_awaited(jobs: Jobs) -> None:
    (jobs.folder / "functions").mkdir()
    (jobs.folder / "functions/later.py").write_text(
        "import asyncio\nasync def fn(x):\n    await asyncio.sleep(0)\n    return x\n"
    )
    assert value(await jobs.run(kind="function", function="later.fn", kwargs={"x": 5})) == 5


async def test_a_folder_that_is_not_there(jobs: Jobs) -> None:
    told = failure(await jobs.run("result = 1", working_dir=str(jobs.folder / "none")))
    assert (told.kind, told.type) == ("parameter", "FileNotFoundError")


# What a job prints


async def test_output_arrives_while_the_script_runs(jobs: Jobs) -> None:
    seen = asyncio.Queue[tuple[str, str]]()
    code = "import os, sys\nprint('one')\nprint('two', file=sys.stderr)\nwhile not os.path.exists('go'): pass"
    work = asyncio.create_task(jobs.run(code, on_output=lambda stream, text: seen.put_nowait((stream, text))))
    assert {await seen.get(), await seen.get()} == {("stdout", "one\n"), ("stderr", "two\n")}
    assert not work.done()
    (jobs.folder / "go").touch()
    await work


async def test_much_output_is_bounded(jobs: Jobs) -> None:
    shown: list[str] = []
    ended = await jobs.run(
        "for i in range(300_000): print('%010d' % i)\nresult = 1", on_output=lambda _, text: shown.append(text)
    )
    text = ended.stdout.text()
    assert value(ended) == 1
    assert ended.stdout.total_bytes == 3_300_000
    assert len(text) < MAX_KEPT_BYTES + 100
    assert text.startswith("0000000000\n0000000001\n")
    assert text.endswith("0000299999\n")
    assert sum(map(len, shown)) < MAX_KEPT_BYTES + (1 << 17)


async def test_output_of_other_programs_and_without_newline(jobs: Jobs) -> None:
    shown: list[str] = []
    ended = await jobs.run("import os\nos.system('printf abc')", on_output=lambda _, text: shown.append(text))
    assert (ended.stdout.text(), shown) == ("abc", ["abc"])


async def test_bytes_that_are_no_text(jobs: Jobs) -> None:
    ended = await jobs.run("import os\nos.write(1, bytes([255, 65, 10]))\nprint('\\udcff')")
    assert ended.stdout.text().startswith("\N{REPLACEMENT CHARACTER}A\n")
    assert ended.report is not None
    assert ended.report.failure is None


async def test_a_large_job_and_a_large_result(jobs: Jobs) -> None:
    ended = await jobs.run("result = context * 2", variables={"context": "x" * 3_000_000})
    assert value(ended) == "x" * 6_000_000
    assert failure(await jobs.run(f"result = 'x' * {MAX_REPORT_BYTES}")).kind == "result"


# Limits


@pytest.mark.parametrize(
    ("source", "limits", "limit"),
    [
        ("x = bytearray(600 << 20)", Limits(memory_bytes=400 << 20), "memory"),
        ("x = []\nwhile True: x.append(' ' * 100_000 + str(len(x)))", Limits(memory_bytes=200 << 20), "memory"),
        ("open('big', 'wb').write(bytes(2 << 20))", Limits(file_bytes=1 << 20), "file_size"),
        ("files = [open('/dev/null') for _ in range(99)]", Limits(open_files=50), "open_files"),
    ],
)
async def test_a_limit_that_is_met_is_named(jobs: Jobs, source: str, limits: Limits, limit: str) -> None:
    assert failure(await jobs.run(source, limits=limits)).limit == limit


async def test_processor_time_is_limited(jobs: Jobs) -> None:
    ended = await jobs.run("while True: pass", limits=Limits(cpu_seconds=1))
    assert (ended.report, ended.exit_code, ended.timed_out) == (None, -signal.SIGXCPU, False)


async def test_no_core_is_dumped(jobs: Jobs) -> None:
    ended = await jobs.run("import resource; result = resource.getrlimit(resource.RLIMIT_CORE)")
    assert value(ended) == [0, 0]


# The end of a job


async def test_a_timeout_leaves_nothing_alive(jobs: Jobs) -> None:
    started = Started(3)
    source = STUBBORN + "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(600)"
    ended = await jobs.run(source, timeout_seconds=4, on_output=started)
    assert ended.timed_out
    assert ended.exit_code == -signal.SIGKILL  # it ignored SIGTERM
    assert len(started.pids) == 3
    assert not any(map(alive, started.pids))


async def test_a_script_may_tidy_up_before_it_is_killed(jobs: Jobs) -> None:
    at_term = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(print('tidied')))\n"
    source = at_term + "print('up')\ntime.sleep(600)"
    ended = await jobs.run(source, timeout_seconds=3)
    assert ended.timed_out
    assert ended.stdout.text() == "up\ntidied\n"


async def test_cancelling_leaves_nothing_alive(jobs: Jobs) -> None:
    started = Started(3)
    work = asyncio.create_task(jobs.run(STUBBORN + "import time\ntime.sleep(600)", on_output=started))
    await cancelled_when(started.complete, work)
    assert not any(map(alive, started.pids))


async def test_cancelled_again_while_it_is_stopped_harms_no_other(jobs: Jobs) -> None:
    """A task's timeout is the call's and the script's: it comes twice, and then nobody waits for the end any more."""
    started = Started(3)
    work = asyncio.create_task(jobs.run(STUBBORN + "import time\ntime.sleep(600)", on_output=started))
    await started.complete.wait()
    work.cancel()
    await asyncio.sleep(0)  # it is being stopped now
    await cancelled_when(started.complete, work)
    assert value(await jobs.run("result = 1", timeout_seconds=5)) == 1


async def test_a_script_that_ends_takes_along_what_it_started(jobs: Jobs) -> None:
    """It must wait until all of them run: what it leaves behind is killed at once."""
    started = Started(3)
    source = STUBBORN.replace(
        "print(os.getpid(), flush=True)", "print(os.getpid(), flush=True); open(str(os.getpid()), 'w')"
    )
    ended = await jobs.run(source + "import os\nwhile len(os.listdir()) < 3: pass\nresult = 1", on_output=started)
    assert value(ended) == 1
    assert len(started.pids) == 3
    assert not any(map(alive, started.pids))


async def test_other_jobs_go_on_when_one_is_killed(jobs: Jobs) -> None:
    waiting = (
        "import subprocess\nsubprocess.run(['sh', '-c', 'while ! test -e go; do sleep 0.01; done'])\nresult = 'done'"
    )
    other = asyncio.create_task(jobs.run(waiting))
    ended = await jobs.run(STUBBORN + "import time\ntime.sleep(600)", timeout_seconds=1)
    assert ended.timed_out
    (jobs.folder / "go").touch()
    assert value(await other) == "done"


async def test_jobs_run_side_by_side(jobs: Jobs) -> None:
    """Each waits for all others: in turn, they would wait for ever."""
    code = "import os\nopen(name, 'w')\nwhile len(os.listdir()) < 8: pass\nresult = name"
    work = [jobs.run(code, variables={"name": str(number)}) for number in range(8)]
    assert [value(ended) for ended in await asyncio.gather(*work)] == list("01234567")


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_two_hundred_jobs_leave_no_descriptor_and_no_zombie(jobs: Jobs) -> None:
    await jobs.run("result = 0")
    before = descriptors()
    theirs = len(os.listdir(f"/proc/{jobs.isolation.zygote_pid}/fd"))
    for number in range(200):
        assert value(await jobs.run(f"result = {number}")) == number
    assert descriptors() == before
    assert len(os.listdir(f"/proc/{jobs.isolation.zygote_pid}/fd")) == theirs
    assert len(children_of(jobs.isolation.zygote_pid)) == 1  # the one that waits for the next job


def children_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(parent):
                found.append(int(entry.name))
    return found


async def test_a_script_finds_no_descriptors_of_others(jobs: Jobs) -> None:
    source = "import subprocess\nresult = subprocess.check_output(['ls', '/proc/self/fd'], text=True).split()"
    ended = await jobs.run(source)
    assert len(value(ended)) == 4  # 0, 1, 2, and the one that ls reads the directory with


# The zygote


async def test_a_killed_zygote_takes_its_jobs_along_and_is_replaced(jobs: Jobs) -> None:
    started = Started(4)
    code = "import os, time\nprint(os.getpid())\n" + STUBBORN + "time.sleep(600)"
    work = asyncio.create_task(jobs.run(code, on_output=started))
    await started.complete.wait()
    first = jobs.isolation.zygote_pid
    os.kill(first, signal.SIGKILL)
    with pytest.raises(TaskError, match="the process that starts scripts died") as caught:
        await work
    assert caught.value.retryable
    assert caught.value.data == {"reason": "process_lost"}
    assert value(await jobs.run("result = 1")) == 1
    assert jobs.isolation.zygote_pid != first
    # who fled into a session of its own cannot be known once the zygote is dead
    for pid in [pid for pid in started.pids if alive(pid)]:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_killed_spare_is_replaced(jobs: Jobs) -> None:
    await jobs.run("result = 0")
    (spare,) = children_of(jobs.isolation.zygote_pid)
    ended = os.pidfd_open(spare)
    os.kill(spare, signal.SIGKILL)
    select.select([ended], [], [], 10)
    os.close(ended)
    assert value(await jobs.run("result = 1")) == 1
    assert value(await jobs.run("result = 2")) == 2


async def test_closing_ends_everything(tmp_path: Path) -> None:
    isolation = ProcessIsolation()
    started = Started(4)
    work = asyncio.create_task(
        Jobs(isolation, tmp_path).run(
            "import os, time\nprint(os.getpid())\n" + STUBBORN + "time.sleep(600)", on_output=started
        )
    )
    await started.complete.wait()
    zygote = isolation.zygote_pid
    await isolation.close()
    with pytest.raises(TaskError):
        await work
    assert not any(map(alive, [zygote, *started.pids]))


@pytest.fixture
def untrusted(jobs: Jobs) -> Callable[[str], Any]:
    return lambda code: jobs.run(code, untrusted=True, environment={})


@pytest.mark.parametrize(
    "source",
    [
        "import socket; socket.socket()",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:1')",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; os.fork()",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.kill(os.getppid(), 9)",
        "import ctypes",
        "open('/tmp/gz-not-allowed', 'w')",
        "open('../outside', 'a')",
        "import os; os.open('/tmp/gz-not-allowed', os.O_CREAT | os.O_RDWR)",
        "import os; os.symlink('/etc', 'link'); open('link/x', 'w')",
        "import os; os.rename('a', '/tmp/gz-not-allowed')",
        "import os; os.mkdir('/tmp/gz-not-allowed')",
        "import shutil; shutil.rmtree('/tmp/gz-not-allowed')",
        "import sqlite3; sqlite3.connect('/tmp/gz-not-allowed')",
        "import pathlib; pathlib.Path('/tmp/gz-not-allowed').touch()",
    ],
)
async def test_untrusted_code_stays_in_its_fence(untrusted: Callable[[str], Any], source: str) -> None:
    told = failure(await untrusted(source))
    assert told.type == "PermissionError"
    assert "untrusted code may" in told.message


async def test_untrusted_code_may_compute_and_write_in_its_folder(untrusted: Callable[[str], Any]) -> None:
    source = "\n".join(
        [
            "import os, json, tempfile, pathlib, decimal",
            "os.mkdir('d')",
            "pathlib.Path('d/f').write_text('x')",
            "with tempfile.NamedTemporaryFile('w') as file: file.write('x')",
            "open(os.devnull, 'w').write('x')",
            "result = [open('d/f').read(), dict(os.environ), sum(range(10))]",
        ]
    )
    assert value(await untrusted(source)) == ["x", {}, 45]
