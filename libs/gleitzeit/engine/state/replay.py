"""A workflow from its stream: the same moves as when they were made."""

from collections.abc import Iterable, Iterator

from gleitzeit.engine.state.workflow import STEP, Refused, Workflow
from gleitzeit.model import events as ev


def replay(stream: Iterable[ev.AnyEvent]) -> Workflow:
    """The workflow whose events these are, in order. Raises Refused if they cannot be a workflow's."""
    events = iter(stream)
    workflow = Workflow(_first(events))
    for event in events:
        workflow.apply(event)
    return workflow


def replay_in_steps(stream: Iterable[ev.AnyEvent]) -> Iterator[Workflow]:
    """As `replay`, for who has others waiting: what comes last is the workflow."""
    events = iter(stream)
    for workflow in Workflow.in_steps(_first(events)):
        yield workflow
    for number, event in enumerate(events):
        for _ in workflow.apply_in_steps(event):
            yield workflow
        if number % STEP == STEP - 1:
            yield workflow
    yield workflow


def _first(events: Iterator[ev.AnyEvent]) -> ev.WorkflowSubmitted:
    first = next(events, None)
    if not isinstance(first, ev.WorkflowSubmitted):
        raise Refused(f"a stream begins with WorkflowSubmitted, not with {type(first).__name__}")
    return first
