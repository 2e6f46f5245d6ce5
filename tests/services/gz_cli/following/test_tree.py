from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition, TaskDefinition
from gz_cli.drawing.layout import layout
from gz_cli.following.progress import WorkflowProgress
from gz_cli.following.tree import BAR_CELLS, bar, picture
from gz_cli.terminal.ink import Ink

INK = Ink(colour=False)
FAILURE = ev.Failure(code=-29002, message="no such file\nTraceback …", task="slice-2")


def drawn(progress: WorkflowProgress, *, height: int = 40, collapse_above: int = 6, now_ms: int = 3000) -> list[str]:
    roots = layout(progress.nodes(), collapse_above=collapse_above)
    return [INK.line(line) for line in picture(progress, roots, now_ms=now_ms, height=height)]


def start(progress: WorkflowProgress, *names: str, attempt: int = 1) -> None:
    for name in names:
        progress.apply(ev.TaskStarted(at=2000, task=name, attempt=attempt, provider="p", instance="i"))


def complete(progress: WorkflowProgress, *names: str) -> None:
    start(progress, *names)
    for name in names:
        progress.apply(ev.TaskCompleted(at=2250, task=name, attempt=1))


def test_the_tree_in_the_middle_of_a_run(progress: WorkflowProgress) -> None:
    complete(progress, "find", "slice-1")
    start(progress, "slice-2", attempt=2)
    progress.apply(ev.TaskStarted(at=2000, task="slice-3", attempt=1, provider="p", instance="i"))
    progress.apply(ev.TaskFailed(at=2500, task="slice-3", attempt=1, error=FAILURE))
    assert drawn(progress) == [
        "Report  wf-1  running  2.0 s",
        "· hello",
        "✓ find  250 ms",
        "├─ ✓ slice-1  250 ms",
        "├─ ⠋ slice-2  1.0 s  attempt 2",
        "├─ ✗ slice-3  500 ms  no such file",
        "└─ · join  after slice-1, slice-2, slice-3",
        "██████████░░░░░░░░░░ 3 of 6 tasks · 1 running · 1 failed",
    ]


def test_a_large_fan_out_is_one_line_with_its_own_bar(progress: WorkflowProgress) -> None:
    complete(progress, "hello", "find", "slice-1")
    start(progress, "slice-2", "slice-3")
    assert drawn(progress, collapse_above=2)[3:5] == [
        "└─ ⠋ slice-1 … slice-3  ██████░░░░░░░░░░░░░░ 1/3  slice-2, slice-3",
        "   └─ · join",
    ]


def test_when_it_does_not_fit_only_what_matters_is_shown() -> None:
    tasks = tuple(TaskDefinition(id=f"t{number}", method="echo/echo", tags=(str(number),)) for number in range(100))
    chained = tuple(
        TaskDefinition(id=f"u{number}", method="echo/echo", dependencies=(f"t{number}",)) for number in range(100)
    )
    progress = WorkflowProgress("wf-2")
    definition = Definition(name="Many", tasks=tasks + chained)
    progress.apply(ev.WorkflowSubmitted(at=1000, workflow_id="wf-2", definition=definition))
    complete(progress, *(f"t{number}" for number in range(50)))
    start(progress, *(f"t{number}" for number in range(50, 60)))
    progress.apply(ev.TaskFailed(at=2500, task="t50", attempt=1, error=FAILURE))
    lines = drawn(progress, height=6)
    assert lines == [
        "Many  wf-2  running  2.0 s",
        "  ✗ t50  500 ms  no such file",
        "  ⠋ t51  1.0 s",
        "  ⠋ t52  1.0 s",
        "  … and 7 more",
        "█████░░░░░░░░░░░░░░░ 51 of 200 tasks · 9 running · 1 failed",
    ]


def test_it_never_takes_more_lines_than_there_are(progress: WorkflowProgress) -> None:
    start(progress, "find", "hello")
    for height in range(1, 12):
        assert 1 <= len(drawn(progress, height=height)) <= height


def test_a_group_shows_what_still_goes_on_before_what_has_ended(progress: WorkflowProgress) -> None:
    complete(progress, "find", "slice-1", "slice-2")
    progress.apply(ev.TaskFailed(at=2500, task="slice-3", attempt=1, error=FAILURE))
    assert drawn(progress, collapse_above=2)[3] == "└─ ✗ slice-1 … slice-3  ████████████████████ 3/3  1 failed"


def test_the_bar_is_full_only_at_the_end() -> None:
    assert INK.line(bar(999, 1000)).count("█") == BAR_CELLS - 1
    assert INK.line(bar(1000, 1000)) == "█" * BAR_CELLS
