from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition, ForEach, TaskDefinition
from gz_cli.following.lines import event_line
from gz_cli.following.progress import WorkflowProgress
from gz_cli.terminal.durations import clock
from gz_cli.terminal.ink import Ink

INK = Ink(colour=False)
FAILURE = ev.Failure(code=-29002, message="no such file\nmore")


def told(progress: WorkflowProgress, event: ev.AnyEvent) -> str | None:
    """The line without its time of day."""
    progress.apply(event)
    line = event_line(progress, event)
    return None if line is None else INK.line(line).removeprefix(clock(event.at)).strip()


def test_ten_thousand_items_are_some_twenty_lines() -> None:
    progress = WorkflowProgress("wf-1")
    fan = TaskDefinition("m", "echo/echo", for_each=ForEach(Raw(b"[]")))
    progress.apply(ev.WorkflowSubmitted(at=1, workflow_id="wf-1", definition=Definition("n", (fan,))))
    lines = [told(progress, ev.TasksAdded(at=1, task="m", attempt=1, count=10_000))]
    for number in range(10_000):
        lines.append(told(progress, started(f"m[{number}]")))
        if number % 100:
            lines.append(told(progress, ev.TaskCompleted(at=2, task=f"m[{number}]", attempt=1)))
        else:
            lines.append(told(progress, ev.TaskFailed(at=2, task=f"m[{number}]", attempt=1, error=FAILURE)))
    seen = [line for line in lines if line is not None]
    assert seen[:3] == ["◷ m has 10,000 items", "✗ m[0] failed: no such file", "✗ m[100] failed: no such file"]
    assert seen[-1] == "✓ m 10,000/10,000, 100 failed"
    assert len(seen) == 1 + 20 + 20


def test_what_a_task_waits_for() -> None:
    progress = WorkflowProgress("wf-1")
    wait = TaskDefinition("a b", "approval/ask")
    progress.apply(ev.WorkflowSubmitted(at=1, workflow_id="wf-1", definition=Definition("n", (wait,))))

    def waiting(**more: Any) -> str | None:
        return told(progress, ev.TaskWaiting(at=1000, task="a b", attempt=1, **more))

    assert waiting(approval=ev.Approval("Ship it?\nAll of it")) == "◷ a b asks: Ship it? (gz approve wf-1 'a b')"
    assert waiting(signals=("x", "y"), all=True) == "◷ a b waits for the signal x and y"
    assert waiting(child="wf-1~a~1") == "◷ a b runs the workflow wf-1~a~1"
    assert waiting(until=1500) == "◷ a b waits 500 ms"
    assert waiting(until=1000) is None
    assert waiting() == "◷ a b waits"


def started(task: str, at: int = 2000) -> ev.TaskStarted:
    return ev.TaskStarted(at=at, task=task, attempt=1, provider="python-1", instance="i")


def test_the_story_of_a_workflow(progress: WorkflowProgress, definition: Definition) -> None:
    again = WorkflowProgress("wf-1")
    assert (
        told(again, ev.WorkflowSubmitted(at=1, workflow_id="wf-1", definition=definition)) == "● Report  wf-1  6 tasks"
    )
    assert told(progress, started("find")) == "● find started at python-1"
    retrying = ev.TaskRetrying(at=2100, task="find", attempt=1, error=FAILURE, until=2350)
    assert told(progress, retrying) == "↻ find attempt 1 failed, next in 250 ms: no such file"
    assert told(progress, ev.TaskReleased(at=2350, task="find")) is None
    assert told(progress, started("find", 2400)) == "● find started at python-1"
    assert told(progress, ev.TaskCompleted(at=2500, task="find", attempt=2)) == "✓ find completed in 100 ms (1/6)"
    lost = ev.CallLost(at=2600, task="join", attempt=1, reason="provider died")
    assert told(progress, lost) == "↻ join lost its provider (it may have run): provider died"
    asked = replace(lost, approval=ev.Approval("it may have run: once more?", of_call=True))
    assert told(progress, asked) == "◷ join asks: it may have run: once more? (gz approve wf-1 join)"
    assert (
        told(progress, ev.TaskFailed(at=2700, task="join", attempt=2, error=FAILURE)) == "✗ join failed: no such file"
    )
    assert told(progress, ev.TaskSkipped(at=2700, task="slice-1")) == "– slice-1 skipped"
    assert told(progress, ev.WorkflowFailed(at=3000, error=FAILURE)) == "✗ Report failed after 2.0 s: no such file"


def test_a_provider_that_wants_to_be_left_alone_for_a_while(progress: WorkflowProgress) -> None:
    refused = ev.CallRefused(at=2100, task="find", attempt=1, reason="openai says: slow", until=11_100)
    assert told(progress, refused) == "↻ find has to wait, asked again in 9 s: openai says: slow"
    assert told(progress, ev.CallRefused(at=2100, task="find", attempt=1, reason="busy", until=2900)) is None
    assert told(progress, ev.CallRefused(at=2100, task="slices[3]", attempt=1, reason="busy", until=11_100)) is None


def test_waiting(progress: WorkflowProgress) -> None:
    timer = ev.TaskWaiting(at=2000, task="find", attempt=1, until=5000)
    assert told(progress, timer) == "◷ find waits 3.0 s"
    signals = ev.TaskWaiting(at=2000, task="hello", attempt=1, signals=("a", "b"))
    assert told(progress, signals) == "◷ hello waits for the signal a, b"


def test_many_tasks_are_told_in_twentieths_but_every_failure_is() -> None:
    tasks = tuple(TaskDefinition(id=f"t{number}", method="echo/echo") for number in range(1000))
    progress = WorkflowProgress("wf-1")
    progress.apply(ev.WorkflowSubmitted(at=1, workflow_id="wf-1", definition=Definition(name="Many", tasks=tasks)))
    lines = []
    for number in range(1000):
        assert told(progress, started(f"t{number}")) is None
        lines.append(told(progress, ev.TaskCompleted(at=2001, task=f"t{number}", attempt=1)))
    kept = [line for line in lines if line]
    assert len(kept) == 20
    assert kept[-1] == "✓ t999 completed in 1 ms (1,000/1,000)"
    failed = ev.TaskFailed(at=2001, task="t5", attempt=2, error=FAILURE)
    assert told(progress, failed) == "✗ t5 failed: no such file"
