import contextlib
import io
import logging
import os
import re
from collections.abc import Iterator

import msgspec
import pytest

from gleitzeit.errors import ConfigurationError
from gleitzeit.process.logs import Format, configure


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def _configured(monkeypatch: pytest.MonkeyPatch, format: Format, *, terminal: bool, level: str = "info") -> io.StringIO:
    output = _Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", output)
    configure(level, format, service="gz-test")
    return output


def test_json_lines_where_no_person_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    output = _configured(monkeypatch, "auto", terminal=False)
    logging.getLogger("some.part").info("done %s", 1, extra={"workflow_id": "w", "task_id": "t", "attempt": 2})
    line = msgspec.json.decode(output.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "logger": "some.part",
        "message": "done 1",
        "service": "gz-test",
        "workflow_id": "w",
        "task_id": "t",
        "attempt": 2,
    }


def test_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    output = _configured(monkeypatch, "auto", terminal=True)
    logging.getLogger("x").warning("careful", extra={"task_id": "t"})
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} warning careful  task_id=t\n", output.getvalue())


def test_the_format_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    output = _configured(monkeypatch, "json", terminal=True)
    logging.getLogger("x").info("a")
    assert output.getvalue().startswith("{")


def test_an_exception_is_one_json_line_and_odd_values_do_not_break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    output = _configured(monkeypatch, "json", terminal=False)
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("x").exception("failed", extra={"odd": object, "message_": "m"})
    (text,) = output.getvalue().splitlines()
    line = msgspec.json.decode(text)
    assert line["exception"].endswith("ValueError: no")
    assert line["odd"] == "<class 'object'>"


def test_libraries_are_quiet_unless_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    output = _configured(monkeypatch, "text", terminal=True)
    logging.getLogger("nats.aio").info("chatter")
    assert output.getvalue() == ""
    output = _configured(monkeypatch, "text", terminal=True, level="debug")
    logging.getLogger("nats.aio").info("chatter")
    assert "chatter" in output.getvalue()


def test_an_unknown_level_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'loud'.*debug, info"):
        configure("loud")


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The end of stderr at which it is read."""
    reading, writing = os.pipe()
    monkeypatch.setattr("gleitzeit.process.logs.PATIENCE_MS", 1)
    with os.fdopen(writing, "w") as output:
        monkeypatch.setattr("sys.stderr", output)
        configure("info", "text")
        yield reading
    os.close(reading)


def drained(pipe: int) -> bytes:
    os.set_blocking(pipe, False)
    text = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            text += os.read(pipe, 1 << 16)
    return text


def test_a_pipe_that_nobody_reads_holds_up_nobody(pipe: int) -> None:
    for number in range(3_000):
        logging.getLogger("x").info("line %d %s", number, "x" * 100)
    logging.getLogger("x").info("y" * 200_000)
    kept = drained(pipe).count(b"line ")
    assert kept > 300
    logging.getLogger("x").info("again")
    nothing, said, again, end = drained(pipe).decode().split("\n")
    assert (nothing, end) == ("", "")
    assert f"warning nobody was reading: {3_001 - kept} lines of the log, or their ends, are left out here" in said
    assert again.endswith("info    again")


def test_long_lines_go_whole_through_a_pipe(pipe: int) -> None:
    logging.getLogger("x").info("z" * 20_000)
    assert os.read(pipe, 1 << 16).count(b"z") == 20_000


def test_a_pipe_whose_reader_has_gone(pipe: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, pipe)  # what was open there is closed
    os.close(nowhere)
    logging.getLogger("x").info("unheard")
