"""`workflow.retry`: what did not complete runs again. A large workflow is made ready for that between the turns."""

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.graph.again import can_run_again_in_steps
from gleitzeit.engine.state.workflow import STEP, Workflow
from gleitzeit.model.events import WorkflowRetried
from gz_coordinator.service import Service
from gz_coordinator.steps import last_of


async def retry(service: Service, workflow_id: str, tasks: tuple[str, ...]) -> fx.Answer:
    """Those tasks and what waits for them, or with none named all. Durable when it returns. Raises WorkflowNotFound,
    and InvalidState if there is nothing to retry."""
    await service.ended.bring_back(workflow_id)
    if workflow_id in service.ended.aside:
        raise errors.InvalidState(f"workflow {workflow_id} is about to run again")
    workflow = service.engine.workflows[workflow_id]
    if len(workflow.tasks) <= 2 * STEP or not workflow.final:
        return await service.ask(lambda token: inp.Retry(token, workflow_id, tasks))
    with service.ended.set_aside(workflow):
        return await _retry_in_steps(service, workflow, tasks)


async def _retry_in_steps(service: Service, workflow: Workflow, tasks: tuple[str, ...]) -> fx.Answer:
    names = await last_of(can_run_again_in_steps(workflow, tasks))
    service.space.refuse_new()
    event = WorkflowRetried(service.clock(), names)
    await last_of(workflow.retried_in_steps(event))
    return await service.ask(lambda token: inp.Retry(token, workflow.id, names, workflow, event))
