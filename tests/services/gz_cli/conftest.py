"""A workflow to look at: find → three slices → join, and a task that stands alone; and a stack that runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services.gz_cli.up import running

from gleitzeit.model.definition import Definition, TaskDefinition
from gleitzeit.model.events import WorkflowSubmitted
from gz_cli.following.progress import WorkflowProgress


def task(name: str, *dependencies: str, method: str = "python/execute") -> TaskDefinition:
    return TaskDefinition(id=name, method=method, dependencies=dependencies)


@pytest.fixture
def definition() -> Definition:
    slices = [task(f"slice-{number}", "find") for number in (1, 2, 3)]
    join = task("join", *(one.id for one in slices))
    return Definition(name="Report", tasks=(task("hello", method="echo/echo"), task("find"), *slices, join))


@pytest.fixture
def progress(definition: Definition) -> WorkflowProgress:
    """Submitted at 1000 ms."""
    progress = WorkflowProgress("wf-1")
    progress.apply(WorkflowSubmitted(at=1000, workflow_id="wf-1", definition=definition))
    return progress


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a stack that `gz up` runs."""
    folder = tmp_path_factory.mktemp("state")
    with running(folder):
        yield folder
