from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.libs.engine.builders import NOW, submitted, task

from gleitzeit.engine.state.population import Population
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model import events as ev

IDS = ("a", "b", "c")


@given(st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(["enter", "forget", "move", "silently"]))))
@settings(max_examples=50)
def test_what_is_counted_is_what_there_is(steps: list[tuple[str, str]]) -> None:
    population, gone = Population(), Workflow(submitted(task("t"), workflow_id="gone"))
    for workflow_id, step in steps:
        workflow = population.get(workflow_id)
        if step == "enter":
            population[workflow_id] = Workflow(submitted(task("t"), workflow_id=workflow_id))
        elif workflow is not None and step == "forget":
            del population[workflow_id]
        elif workflow is not None:
            workflow.apply(ev.WorkflowResumed(NOW) if workflow.state == "paused" else ev.WorkflowPaused(NOW))
        if step != "silently":
            population.note([*population.values(), gone])
            assert population.counts == Counter(one.state for one in population.values())
