from tests.libs.engine.builders import submitted, task

from gleitzeit.engine.state.workflow import Workflow
from gz_coordinator.streams.own_ids import OWN_ID, own_id_append, workflow_of


def test_a_document_with_an_id_is_found_by_it() -> None:
    append = own_id_append(Workflow(submitted(task("a"), workflow_id="wf-1", metadata={"id": "mine"})))
    assert append is not None
    assert (append.summary.kind, append.summary.key, append.events) == (OWN_ID, "mine", ())
    assert not append.summary.active
    assert workflow_of(append.summary) == "wf-1"


def test_without_one_or_with_the_name_as_one_there_is_nothing_to_add() -> None:
    workflow = Workflow(submitted(task("a")))
    assert own_id_append(workflow) is None
    name = workflow.definition.name
    assert own_id_append(Workflow(submitted(task("a"), metadata={"id": name}))) is None
    assert own_id_append(Workflow(submitted(task("a"), metadata={"id": 7}))) is None
