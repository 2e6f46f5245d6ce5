"""Workflows that come from another coordinator, and that go to one."""

from tests.libs.engine.builders import NOW, Desk, definition, kinds_of, raw, task

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.calls import SUCCESSOR_GRACE_MS
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.state.replay import replay
from gleitzeit.model.shards import SCHEDULES, SHARDS, shard_of


def everything(workflow_id: str) -> bool:
    return True


def test_a_running_call_of_an_adopted_workflow_is_attached_to_at_once() -> None:
    before = Desk()
    before.submit(task("a"), task("b", "a"))
    after = Desk()
    decided = after.tell(inp.Adopt("asked", (replay(before.events["w"]),)))
    assert kinds_of(decided.effects) == ["AttachCall"]
    assert [answer.token for answer in decided.answers] == ["asked"]
    after.events = before.events
    after.complete("a")
    assert after.kinds()[2:] == ["TaskCompleted", "TaskStarted"]
    after.wait(1000)
    assert after.states() == {"a": "completed", "b": "running"}


def test_a_call_whose_provider_was_started_anew_meanwhile_is_given_up_soon() -> None:
    before = Desk()
    before.submit(task("a", attempts=2))
    after = Desk(providers=[("p#2", 100)])
    after.events = before.events
    decided = after.tell(inp.Adopt("", (replay(before.events["w"]),)))
    assert not decided.effects
    after.wait(SUCCESSOR_GRACE_MS / 1000)
    assert after.kinds()[2:] == ["CallLost", "TaskStarted"]


def test_what_is_ready_in_an_adopted_workflow_starts() -> None:
    before = Desk(providers=())
    before.submit(task("a"))
    after = Desk()
    after.events = before.events
    after.tell(inp.Adopt("", (replay(before.events["w"]),)))
    assert after.sent() == ["a"]


def test_of_a_disowned_workflow_nothing_is_decided_any_more() -> None:
    desk = Desk(providers=[("p#1", 1)])
    desk.submit(task("a", timeout_seconds=5.0, attempts=3), task("b"), timeout_seconds=30.0)
    desk.submit(task("c", timeout_seconds=5.0), workflow_id="other")
    call, number = desk.call("a"), len(desk.events["w"])
    decided = desk.tell(inp.Disown("asked", lambda workflow_id: workflow_id == "w"))
    assert [answer.token for answer in decided.answers] == ["asked"]
    assert list(desk.engine.workflows) == ["other"]
    assert desk.sent() == ["c"], "its place at the provider is free"
    for late in (
        inp.CallCompleted(call, raw(1)),
        inp.CallFailed(call, -29002, "no"),
        inp.CallNotStarted(call, "busy"),
        inp.CallUnknown(call, "p#1"),
    ):
        assert not desk.tell(late).effects, "not even an ack: the result is another coordinator's"
    desk.wait(100)
    assert len(desk.events["w"]) == number
    desk.tell(inp.Cancel("cancel", "w"))
    assert isinstance(desk.error(), errors.WorkflowNotFound)


def test_nobody_is_asked_about_workflows_that_were_looked_at_before() -> None:
    desk = Desk()
    for name in ("a", "b", "c"):
        desk.submit(task("t"), workflow_id=name)
    asked: list[str] = []
    desk.tell(inp.Disown("", lambda name: not asked.append(name), known=frozenset({"a", "c"})))
    assert (asked, list(desk.engine.workflows)) == (["b", SCHEDULES], ["a", "c"])


def test_a_workflow_that_comes_back_is_a_new_one() -> None:
    desk = Desk()
    desk.submit(task("a", timeout_seconds=5.0, attempts=2))
    stale = desk.call("a")
    desk.tell(inp.Disown("", everything))
    assert not desk.engine.calls
    decided = desk.tell(inp.Adopt("", (replay(desk.events["w"]),)))
    assert kinds_of(decided.effects) == ["AttachCall"]
    assert not desk.tell(inp.CallCompleted(stale, raw("stale"))).appends
    desk.complete("a", "fresh")
    assert desk.kinds()[-1] == "WorkflowCompleted"


def test_what_was_decided_in_the_turn_of_the_farewell_is_not_sent() -> None:
    desk = Desk(providers=[("p#1", 100)])
    workflow = desk.submit(task("a"), task("b", "a"))
    decided = desk.engine.decide(NOW, [inp.CallCompleted(desk.call("a"), raw(1)), inp.Disown("", everything)])
    assert "w" in decided.appends
    assert workflow.disowned
    assert "CallProvider" not in kinds_of(decided.effects)


def test_a_workflow_is_not_made_where_another_coordinator_has_the_shard() -> None:
    desk = Desk()
    desk.engine.owns = lambda workflow_id: False
    desk.tell(inp.Submit("", "w", definition(task("a")), raw({})))
    assert isinstance(desk.error(), errors.ShardElsewhere)
    assert not desk.engine.workflows


def test_calls_carry_the_fence_of_their_workflows_shard() -> None:
    epochs = {shard: 100 + shard for shard in range(SHARDS)}
    identity = Identity("c", 0, "me", shards=SHARDS, epochs=epochs)
    for workflow_id in ("wf-1", "wf-2", "wf-2~task~1"):
        shard = shard_of(workflow_id, SHARDS)
        fence = {"cluster": "c", "shard": shard, "epoch": 100 + (shard or 0), "owner": "me"}
        assert identity.fence_of(workflow_id) == fence
    assert identity.fence_of("wf-2") == identity.fence_of("wf-2~task~1")
    assert identity.fence == {"cluster": "c", "shard": 0, "epoch": 100, "owner": "me"}
    epochs.clear()
    assert identity.fence is None
