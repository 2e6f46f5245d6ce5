"""What earlier versions called things, where somebody asks for some."""

import pytest

from gleitzeit.model.earlier import EVENT_TYPES, EVENTS, event_types

EARLIER = [
    "task:submitted",
    "task:queued",
    "task:started",
    "task:completed",
    "task:failed",
    "task:cancelled",
    "task:retry_scheduled",
    "task:retry_executed",
    "task:timeout",
    "task:available",
    "task:claimed",
    "workflow:submitted",
    "workflow:validated",
    "workflow:started",
    "workflow:completed",
    "workflow:failed",
    "workflow:cancelled",
    "workflow:paused",
    "workflow:resumed",
]


@pytest.mark.parametrize("name", EARLIER)
def test_every_earlier_event_means_some_of_ours(name: str) -> None:
    assert event_types([name])
    assert event_types([name]) <= set(EVENT_TYPES)


def test_no_name_is_missing() -> None:
    assert set(EVENTS) == set(EARLIER)


def test_names_of_ours_and_patterns() -> None:
    assert event_types(["TaskFailed", "task:failed"]) == {"TaskFailed"}
    assert event_types(["Workflow*"]) == {name for name in EVENT_TYPES if name.startswith("Workflow")}
    assert {"TaskCompleted", "TaskFailed", "TaskRetrying"} <= event_types(["task:*"])
    assert event_types(["*"]) == set(EVENT_TYPES)


@pytest.mark.parametrize(
    ("name", "said"),
    [("TaskDone", "there is no event"), ("provider:registered", "gz providers"), ("queue:*", "gz status")],
)
def test_what_there_is_not_is_refused(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        event_types([name])
