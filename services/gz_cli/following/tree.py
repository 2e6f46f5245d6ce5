"""The live picture of a workflow: its tasks as a tree, or, where they do not fit, as a bar with what runs now."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from gleitzeit.model.events import TASK_FINAL, TaskStatus
from gz_cli.drawing.layout import NAMES_SHOWN, Item, after_words, label, walk
from gz_cli.following.progress import TaskProgress, WorkflowProgress
from gz_cli.terminal.durations import counted, duration
from gz_cli.terminal.ink import Span, first_line

MARKS: dict[str, tuple[str, str]] = {
    "pending": ("·", "dim"),
    "ready": ("·", "dim"),
    "running": ("●", "cyan"),
    "retrying": ("↻", "yellow"),
    "waiting": ("◷", "blue"),
    "paused": ("‖", "yellow"),
    "completed": ("✓", "green"),
    "failed": ("✗", "red"),
    "skipped": ("–", "dim"),
    "cancelled": ("⊘", "yellow"),
}
"""status -> mark and style"""

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
BAR_CELLS = 20

Line = list[Span]


def picture(
    progress: WorkflowProgress, roots: Sequence[Item], *, now_ms: int, height: int, frame: int = 0
) -> list[Line]:
    """At most `height` lines. `frame` counts the redraws: it turns the spinners.

    The tree if it fits; else, in this order, a bar, what failed, what runs.
    """
    room = max(0, height - 2)
    items = list(islice(walk(roots), room + 1))
    if len(items) <= room:
        body = [
            _item(before, [progress.tasks[name] for name in item.members], item.after, now_ms, frame)
            for before, item in items
        ]
    else:
        body = _overview(progress, now_ms, room, frame)
    return [_head(progress, now_ms), *body, _foot(progress)][: max(1, height)]


def _head(progress: WorkflowProgress, now_ms: int) -> Line:
    return [
        (progress.name, "bold"),
        ("  " + progress.workflow_id, "dim"),
        ("  " + progress.status, MARKS[progress.status][1]),
        ("  " + duration(progress.seconds(now_ms)), "dim"),
        ("  " + progress.cost() if progress.cost() else "", "dim"),
    ]


def _foot(progress: WorkflowProgress) -> Line:
    total = len(progress.tasks)
    line: Line = [*bar(progress.ended, total), (f" {progress.ended:,} of {counted(total)}", "")]
    for status in ("running", "waiting", "retrying", "failed", "skipped", "cancelled"):
        if progress.counts[status]:
            line.append((f" · {progress.counts[status]:,} {status}", MARKS[status][1]))
    return line


def bar(done: int, total: int) -> Line:
    filled = BAR_CELLS * done // total if total else BAR_CELLS
    return [("█" * filled, "green"), ("░" * (BAR_CELLS - filled), "dim")]


def _item(before: str, tasks: Sequence[TaskProgress], after: Sequence[str], now_ms: int, frame: int) -> Line:
    line = _task(before, tasks[0], now_ms, frame) if len(tasks) == 1 else _group(before, tasks, frame)
    return [*line, (after_words(after), "dim")] if after and not _begun(tasks) else line


def _begun(tasks: Sequence[TaskProgress]) -> bool:
    return any(task.status not in ("pending", "ready") for task in tasks)


def _task(before: str, task: TaskProgress, now_ms: int, frame: int) -> Line:
    line: Line = [(before, "dim"), _mark(task.status, frame), (" " + task.name, _name_style(task.status))]
    seconds = task.seconds(now_ms)
    if seconds is not None:
        line.append(("  " + duration(seconds), "dim"))
    if task.items is not None and task.items.ended != task.items.total:
        line += [("  ", ""), *bar(task.items.ended, task.items.total)]
    if task.attempt > 1 and task.items is None:
        line.append((f"  attempt {task.attempt}", "yellow"))
    if task.error is not None and task.status in ("failed", "retrying"):
        line.append(("  " + first_line(task.error.message), "red" if task.status == "failed" else "yellow"))
    elif task.note:
        line.append(("  " + first_line(task.note), "dim"))
    return line


def _group(before: str, tasks: Sequence[TaskProgress], frame: int) -> Line:
    counts = Counter(task.status for task in tasks)
    done = sum(counts[status] for status in TASK_FINAL)
    status = _of_many(counts)
    line: Line = [(before, "dim"), _mark(status, frame), (" " + label([task.name for task in tasks]), "")]
    line += [("  ", ""), *bar(done, len(tasks)), (f" {done:,}/{len(tasks):,}", "")]
    if counts["failed"]:
        line.append((f"  {counts['failed']:,} failed", "red"))
    running = [task.name for task in tasks if task.status == "running"]
    if running:
        more = f" and {len(running) - NAMES_SHOWN:,} more" if len(running) > NAMES_SHOWN else ""
        line.append(("  " + ", ".join(running[:NAMES_SHOWN]) + more, "dim"))
    return line


def _of_many(counts: Counter[TaskStatus]) -> TaskStatus:
    """One status for many tasks: what still goes on comes before what has ended, the bad end before the good."""
    order: tuple[TaskStatus, ...] = ("running", "retrying", "waiting", "ready", "pending", "failed", "cancelled")
    begun = any(counts[status] for status in TASK_FINAL)
    for status in order:
        if counts[status]:
            return "running" if begun and status in ("ready", "pending") else status
    return "completed" if counts["completed"] else "skipped"


def _overview(progress: WorkflowProgress, now_ms: int, height: int, frame: int) -> list[Line]:
    failed: list[TaskProgress] = []
    if progress.counts["failed"]:
        every = (task for task in progress.tasks.values() if task.status == "failed")
        failed = list(islice(every, max(1, height // 2)))
    shown = [*failed, *progress.active()]
    lines = [_task("  ", task, now_ms, frame) for task in shown[:height]]
    if len(shown) > height > 0:
        lines[-1] = [(f"  … and {len(shown) - height + 1:,} more", "dim")]
    return lines


def _mark(status: str, frame: int) -> Span:
    mark, style = MARKS[status]
    return (SPINNER[frame % len(SPINNER)] if status == "running" else mark, style)


def _name_style(status: str) -> str:
    return "dim" if status in ("pending", "ready", "skipped") else ""
