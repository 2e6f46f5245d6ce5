import io

import pytest

from gleitzeit.client import ConnectionItem, LogItem, ProgressItem, StreamItem, WatchEvent
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition
from gz_cli.following.progress import WorkflowProgress
from gz_cli.following.views import STREAM_TAIL, Lines, Tree, progress_words
from gz_cli.terminal.ink import Ink
from gz_cli.terminal.screen import Screen, has_colour, is_live

STARTED = ev.TaskStarted(at=2000, task="find", attempt=1, provider="python", instance="i")


def tree(progress: WorkflowProgress) -> tuple[Tree, io.StringIO]:
    stream = io.StringIO()
    return Tree(progress, Screen(stream, Ink(colour=False))), stream


def test_the_picture_replaces_the_one_before_and_the_last_one_stays(
    progress: WorkflowProgress, definition: Definition
) -> None:
    view, stream = tree(progress)
    with view:
        view.tick()
        view.show(WatchEvent("wf-1", 1, ev.WorkflowSubmitted(at=1000, workflow_id="wf-1", definition=definition)))
        view.tick()
        before = stream.tell()
        progress.apply(STARTED)
        view.tick()
    again = stream.getvalue()[before:]
    assert again.startswith("\x1b[8A\r\x1b[J")  # 6 tasks, head and foot
    assert "⠸ find" in again or "⠹ find" in again
    assert stream.getvalue().endswith("\x1b[?7h\x1b[?25h")


def test_what_a_task_says_of_itself_stands_beside_it(progress: WorkflowProgress) -> None:
    view, _ = tree(progress)
    progress.apply(STARTED)
    view.show(StreamItem("wf-1", "find", 1, "Once upon "))
    view.show(StreamItem("wf-1", "find", 1, "a time" * 20))
    assert progress.tasks["find"].note.endswith("a timea time")
    assert len(progress.tasks["find"].note) == STREAM_TAIL
    view.show(ProgressItem("wf-1", "find", 1, 3, 10, "reading"))
    assert progress.tasks["find"].note == "3/10 reading"


def test_what_is_being_written_stands_below_the_tree_and_a_new_attempt_voids_it(
    progress: WorkflowProgress, definition: Definition
) -> None:
    view, stream = tree(progress)
    view.show(WatchEvent("wf-1", 1, ev.WorkflowSubmitted(at=1000, workflow_id="wf-1", definition=definition)))
    progress.apply(STARTED)
    view.show(StreamItem("wf-1", "find", 1, "Once upon\n"))
    view.show(StreamItem("wf-1", "find", 1, "a time"))
    view.tick()
    assert "  │ Once upon\n  │ a time\n" in stream.getvalue()
    before = stream.tell()
    view.show(StreamItem("wf-1", "find", 2, "Twice"))
    view.tick()
    progress.apply(ev.TaskCompleted(3000, "find", 1))
    view.tick()
    _, drawn, ended = stream.getvalue()[before:].split("\x1b[?7l")
    assert "  │ Twice" in drawn
    assert "Once" not in drawn
    assert "│ Twice" not in ended


def test_log_lines_stay_above_the_picture(progress: WorkflowProgress) -> None:
    view, stream = tree(progress)
    view.show(LogItem("wf-1", "find", 1, "info", "40 modules\nand more"))
    view.show(ConnectionItem(connected=False, message="gone"))
    lines = stream.getvalue().split("\n")
    assert lines[0].endswith("  find: 40 modules")
    assert lines[1].endswith("  find: and more")
    assert "out of reach (gone)" in lines[2]


def test_plain_lines(progress: WorkflowProgress, capsys: pytest.CaptureFixture[str]) -> None:
    err = io.StringIO()
    assert not is_live(err)
    assert not has_colour(err)
    with Lines(progress, Ink(colour=False)) as view:
        progress.apply(STARTED)
        view.show(WatchEvent("wf-1", 2, STARTED))
        view.show(StreamItem("wf-1", "find", 1, "not a line"))
    captured = capsys.readouterr()
    assert captured.err.endswith("● find started at python\n")
    assert captured.out == ""


def test_how_far_a_task_is() -> None:
    assert progress_words(ProgressItem("w", "t", 1, 0.5)) == ""
    assert progress_words(ProgressItem("w", "t", 1, 5, 20)) == "5/20"
    assert progress_words(ProgressItem("w", "t", 1, 700_000_000, 2_000_000_000, "pulling")) == "35 % pulling"
    assert progress_words(ProgressItem("w", "t", 1, 5, None, "loading")) == "loading"
