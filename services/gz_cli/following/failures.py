"""Why a task failed, for the author of its code: where it was, and what it had printed."""

from collections.abc import Iterator, Mapping

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.views import ErrorView, TaskView, WorkflowResult
from gz_cli.terminal.output import payload, short

SHOWN_LINES = 12
"""Of what a script had printed: the last ones."""
SHOWN_TASKS = 3
"""Of a workflow with many failures."""
SHOWN_RESULTS = 5


def details(error: ErrorView | None) -> str:
    """The lines below the message of an error: traceback and output, as far as its provider sent them."""
    data = error.data if error is not None else None
    return "\n".join(_lines(data)) if isinstance(data, Mapping) else ""


def _lines(data: Mapping[str, object]) -> Iterator[str]:
    traceback, text = data.get("traceback"), data.get("text")
    if isinstance(traceback, str) and traceback:
        yield from traceback.splitlines()
    elif isinstance(data.get("line"), int):
        yield f"line {data['line']}" + (f": {text.strip()}" if isinstance(text, str) and text.strip() else "")
    for key, words in (("output", "it had printed:"), ("stderr", "on stderr:")):
        printed = data.get(key)
        if isinstance(printed, str) and printed.strip():
            yield words
            lines = printed.rstrip().splitlines()
            yield from ["  …"] * (len(lines) > SHOWN_LINES)
            yield from (f"  {line}" for line in lines[-SHOWN_LINES:])
    if number := data.get("error_id"):
        yield f"what happened stands in the log of its provider, under error_id {number}"


def of_tasks(tasks: list[TaskView]) -> str:
    """A paragraph for each of the first failed tasks that have details."""
    failed = [task for task in tasks if task.status == "failed" and details(task.error)]
    told = [f"In {task.task_id}:\n{_indented(details(task.error))}" for task in failed[:SHOWN_TASKS]]
    if len(failed) > SHOWN_TASKS:
        told.append(f"and {len(failed) - SHOWN_TASKS:,} more failed; `gz result ID TASK` shows why")
    return "\n\n".join(told)


async def story(client: Coordinator, result: WorkflowResult) -> str:
    """Of a workflow that did not complete: the details of its failure, and what completed nevertheless."""
    parts = []
    if result.error is not None and result.error.task:
        parts.append(details((await client.task(result.workflow_id, result.error.task)).error))
    if result.results:
        number = len(result.results)
        shown = list(result.results.items())[:SHOWN_RESULTS]
        rows = [f"  {name}: {short(payload(value))}" for name, value in shown]
        rows += [f"  … and {number - SHOWN_RESULTS:,} more"] * (number > SHOWN_RESULTS)
        parts.append("\n".join(["what completed:", *rows]))
    return "\n".join(part for part in parts if part)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
