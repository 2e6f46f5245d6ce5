"""`when`, `switch`, `until`, `always`, `on_failure`, `undo`: what the engine makes of them."""

import pytest
from tests.libs.engine.builders import Desk, raw, task

from gleitzeit.engine import inputs as inp
from gleitzeit.engine.explain import explain
from gleitzeit.engine.state.replay import replay
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Case, ForEach, Switch, TaskDefinition, Until


def undo(of: str, **more: object) -> TaskDefinition:
    return task(f"{of}[undo]", params={"message": f"undo ${{{of}.n}}"}, **more)  # type: ignore[arg-type]


def last(name: str, trigger: str = "always", *needs: str, **more: object) -> TaskDefinition:
    return task(name, *needs, trigger=trigger, late=True, **more)  # type: ignore[arg-type]


def reason(desk: Desk, name: str) -> str:
    workflow = desk.workflow()
    return explain(desk.engine, workflow, workflow.tasks[name], desk.now).reason


# when


def test_what_is_not_wanted_is_skipped_and_null() -> None:
    desk = Desk()
    desk.submit(
        task("a"),
        task("no", "a", when="${a.n} > 5"),
        task("yes", "a", when="${a.n} <= 5"),
        task("chain", "no"),
        task("join", "no", "yes", params={"both": ["${no}", "${yes.n}"]}),
    )
    desk.complete("a", {"n": 1})
    assert desk.states() == {"a": "completed", "no": "skipped", "yes": "running", "chain": "skipped", "join": "pending"}
    assert reason(desk, "chain") == "not_wanted"
    desk.complete("yes", {"n": 2})
    assert b'"both":[null,2]' in desk.call("join").params
    desk.complete("join")
    assert desk.workflow().state == "completed"


def test_what_a_failure_elsewhere_cut_short_has_failed_for_who_waits_for_it() -> None:
    desk = Desk()
    desk.submit(
        task("bad"),
        task("a"),
        task("b", "a"),
        task("told", "b", trigger="failure"),
        task("always", "told", trigger="always"),
        error_policy="fail_fast",
    )
    desk.fail("bad")
    assert (desk.states()["b"], desk.states()["told"]) == ("cancelled", "running")
    desk.complete("told")
    desk.complete("always")
    assert desk.workflow().state == "failed"


def test_what_somebody_cancelled_has_not_failed() -> None:
    desk = Desk()
    desk.submit(task("a"), task("told", "a", trigger="failure"), task("always", "a", trigger="always"))
    desk.tell(inp.Cancel("c", "w"))
    assert desk.states() == {"a": "cancelled", "told": "skipped", "always": "running"}


@pytest.mark.parametrize("late", [False, True])
def test_what_has_begun_after_a_failure_goes_on_though_somebody_cancels_meanwhile(late: bool) -> None:
    desk = Desk()
    told = task("told", "a", trigger="failure", late=late, attempts=2)
    desk.submit(task("bad"), task("a"), told, error_policy="fail_fast")
    desk.fail("bad")
    desk.fail("told")
    desk.tell(inp.Cancel("c", "w"))
    desk.wait(1)
    assert desk.states() == {"bad": "failed", "a": "cancelled", "told": "running"}
    desk.complete("told")
    assert desk.workflow().state == "cancelled"


@pytest.mark.parametrize(
    ("condition", "state"),
    [
        ("${no.status} == 'skipped'", "running"),
        ("${no.status} == 'failed'", "skipped"),
        ("${no.status} in ['skipped', 'failed'] && ${a.n} == 1", "running"),
        ("${a.n} == 1", "skipped"),
        ("${no.n} == null", "skipped"),
    ],
)
def test_a_condition_that_reads_how_a_skipped_task_ended_decides_by_itself(condition: str, state: str) -> None:
    desk = Desk()
    desk.submit(task("a"), task("no", "a", when="false"), task("b", "no", when=condition), task("then", "b"))
    desk.complete("a", {"n": 1})
    assert desk.states()["b"] == state
    assert (desk.states()["then"] == "pending") == (state == "running")
    assert replay(desk.events["w"]).tasks["b"].state == state


def test_a_condition_that_cannot_be_computed_fails_the_task() -> None:
    desk = Desk()
    workflow = desk.submit(task("a"), task("b", "a", when="${a.n} > 5"))
    desk.complete("a", {"n": "many"})
    error = workflow.tasks["b"].error
    assert error is not None
    assert (error.name, error.message) == (
        "TASK_PARAMETER_ERROR",
        "'${a.n} > 5': '>' is not for a text and a number",
    )


def test_a_failure_before_it_is_no_matter_of_conditions() -> None:
    desk = Desk()
    desk.submit(task("a"), task("skipped", when="false"), task("b", "a", "skipped"))
    desk.fail("a")
    assert desk.states()["b"] == "skipped"
    assert reason(desk, "b") == "dependency_failed"


# switch


@pytest.mark.parametrize(
    ("value", "case", "runs"),
    [
        ("billing", "billing", ["refund"]),
        (" tech\n", "tech", ["answer", "log"]),
        (7, "7", ["log"]),
        ("x", "default", ["human"]),
    ],
)
def test_a_switch_runs_the_tasks_of_one_case(value: object, case: str, runs: list[str]) -> None:
    cases = (Case(("refund",), "billing"), Case(("answer", "log"), "tech"), Case(("log",), "7"))
    desk = Desk()
    desk.submit(
        task("a"),
        task("route", "a", method="flow/switch", switch=Switch("${a.v}", cases, ("human",))),
        *(task(name, "route") for name in ("refund", "answer", "log", "human")),
        task("join", "refund", "answer", "log", "human", params={"case": "${route.case}", "tasks": "${route.tasks}"}),
    )
    desk.complete("a", {"v": value})
    assert desk.sent() == runs
    for name in runs:
        desk.complete(name)
    assert b'"case":%b' % bytes(raw(case)) in desk.call("join").params


def test_where_no_case_fits_nothing_runs() -> None:
    desk = Desk()
    workflow = desk.submit(task("s", method="flow/switch", switch=Switch("x", (Case(("a",), "y"),))), task("a", "s"))
    assert desk.states() == {"s": "completed", "a": "skipped"}
    assert workflow.state == "completed"


# until


def test_rounds_until_the_condition_holds() -> None:
    desk = Desk()
    params = {"round": "${loop.round}", "last": "${loop.last.n}"}
    desk.submit(task("t", params=params, until=Until("${t.n} >= 3", every_seconds=2.0)), task("after", "t"))
    assert b'"round":1,"last":null' in desk.call("t").params
    desk.complete("t", {"n": 1})
    assert desk.sent() == []
    assert reason(desk, "t") == "loop"
    again = desk.restart()
    again.provider("p#1")
    again.wait(2)
    assert b'"round":2,"last":1' in again.call("t").params
    again.complete("t", {"n": 3})
    assert again.sent() == ["after"]
    assert [type(e).__name__ for e in again.events["w"]].count("TaskRepeated") == 1


def test_each_round_has_the_whole_retry_policy() -> None:
    desk = Desk()
    desk.submit(task("t", attempts=2, until=Until("${t.n} > 1")))
    for n in (1, 2):
        desk.fail("t", -29003)
        desk.wait(1)
        desk.complete("t", {"n": n})
    assert desk.workflow().state == "completed"


@pytest.mark.parametrize(("on_exhausted", "state"), [("fail", "failed"), ("continue", "completed")])
def test_the_bound_of_a_loop(on_exhausted: str, state: str) -> None:
    desk = Desk()
    desk.submit(task("t", until=Until("${t.done}", max=2, on_exhausted=on_exhausted)))  # type: ignore[arg-type]
    desk.complete("t", {"done": False})
    desk.complete("t", {"done": False})
    workflow = desk.workflow()
    assert workflow.state == state
    if workflow.error is not None:
        assert (workflow.error.code, workflow.error.name) == (-29011, "LOOP_EXHAUSTED")


def test_a_loop_that_is_retried_has_all_its_rounds_again() -> None:
    desk = Desk()
    desk.submit(task("t", params={"round": "${loop.round}"}, until=Until("${t.done}", max=2, on_exhausted="fail")))
    for _ in range(2):
        desk.complete("t", {"done": False})
    desk.tell(inp.Retry("again", "w"))
    assert b'"round":1' in desk.call("t").params
    desk.complete("t", {"done": False})
    desk.complete("t", {"done": True})
    assert desk.workflow().state == "completed"


def test_a_timer_and_a_signal_go_round_too() -> None:
    desk = Desk()
    desk.submit(task("t", method="signal/wait", params={"name": "go"}, until=Until("${t.payload} == 'end'")))
    for payload in ("not yet", "end"):
        assert desk.workflow().state == "running"
        desk.tell(inp.Signal("s", "w", "go", raw(payload)))
    assert desk.workflow().state == "completed"


# always, on_failure


def test_what_runs_at_the_end_of_a_success() -> None:
    desk = Desk()
    desk.submit(
        task("a"), last("clean", params={"m": "${workflow.status} ${workflow.error}", "of": "${workflow.error.task}"}),
        last("alarm", "failure"),
    )  # fmt: skip
    assert reason(desk, "clean") == "last"
    desk.complete("a")
    assert b'"m":"completed null","of":null' in desk.call("clean").params
    assert desk.states()["alarm"] == "skipped"
    desk.complete("clean")
    assert desk.workflow().state == "completed"


def test_what_runs_at_the_end_of_a_failure_and_what_waits_for_one_that_failed() -> None:
    desk = Desk()
    desk.submit(
        task("a"), task("b"), task("soon", "a", trigger="always"), task("only", "a", trigger="failure"),
        task("not", "b", trigger="failure"),
        last("clean", params={"m": "${workflow.status}: ${workflow.error}", "of": "${workflow.error.task}"}),
    )  # fmt: skip
    desk.fail("a", message="broken")
    assert desk.sent() == ["soon", "only"], "though b still runs"
    desk.complete("b")
    assert desk.states()["not"] == "skipped"
    desk.complete("soon")
    desk.complete("only")
    assert b'"m":"failed: broken","of":"a"' in desk.call("clean").params
    desk.complete("clean")
    assert desk.workflow().state == "failed"


def test_a_failure_at_the_end_fails_a_workflow_that_had_succeeded() -> None:
    desk = Desk()
    desk.submit(task("a"), last("clean"))
    desk.complete("a")
    desk.fail("clean")
    error = desk.workflow().error
    assert error is not None
    assert error.task == "clean"


def test_a_cancel_waits_for_what_runs_always_and_a_second_one_does_not() -> None:
    desk = Desk()
    desk.submit(task("a"), last("clean", params={"m": "${workflow.status}"}), last("alarm", "failure"))
    desk.tell(inp.Cancel("c", "w", "enough"))
    assert desk.kinds()[-3:] == ["TaskCancelled", "TaskSkipped", "TaskStarted"]
    assert desk.workflow().state == "running"
    assert b'"m":"cancelled"' in desk.call("clean").params
    desk.fail("clean")
    workflow = desk.workflow()
    assert workflow.state == "cancelled", "whatever becomes of that"
    assert desk.events["w"][-1] == ev.WorkflowCancelled(desk.now, "enough")
    hurried = Desk()
    hurried.submit(task("a"), last("clean"))
    hurried.tell(inp.Cancel("c", "w", "enough"))
    hurried.tell(inp.Cancel("c", "w", "now"))
    assert hurried.workflow().state == "cancelled"
    assert hurried.states() == {"a": "cancelled", "clean": "cancelled"}
    assert not hurried.engine.calls


def test_a_paused_or_held_workflow_that_is_cancelled_cleans_up() -> None:
    for request in (inp.Pause("p", "w"), inp.Hold("h", "w")):
        desk = Desk()
        desk.submit(task("a"), last("clean"))
        desk.tell(request)
        desk.tell(inp.Cancel("c", "w"))
        assert desk.sent() == ["clean"]
        desk.complete("clean")
        assert desk.workflow().state == "cancelled"
        assert desk.engine.scheduler.queued == 0


def test_fail_fast_spares_what_runs_always() -> None:
    desk = Desk()
    desk.submit(
        task("a"), task("b"), task("c", "b"), last("clean"), task("mail", "clean", late=True), error_policy="fail_fast"
    )
    desk.fail("a")
    assert desk.states() == {"a": "failed", "b": "cancelled", "c": "cancelled", "clean": "running", "mail": "pending"}
    desk.complete("clean")
    desk.complete("mail")
    assert desk.workflow().state == "failed"


def test_the_workflows_timeout_gives_as_much_time_again_for_the_end() -> None:
    desk = Desk()
    desk.submit(task("a"), last("clean"), timeout_seconds=10.0)
    desk.wait(10)
    assert desk.states() == {"a": "cancelled", "clean": "running"}
    again = desk.restart()
    again.wait(9.5)
    assert again.workflow().state == "running"
    again.wait(0.5)
    workflow = again.workflow()
    assert workflow.state == "failed"
    assert workflow.error is not None
    assert workflow.error.name == "WORKFLOW_TIMEOUT"


# undo


def booked(*names: str, **more: object) -> Desk:
    """These have completed in this order, each with an undo; `pay` runs."""
    desk = Desk()
    desk.submit(*(task(name, undo=undo(name)) for name in names), task("pay", *names), **more)
    for number, name in enumerate(names):
        desk.complete(name, {"n": number})
    return desk


def test_a_failure_undoes_what_has_completed_the_last_first() -> None:
    desk = booked("b", "a", "c")
    desk.fail("pay", message="declined")
    assert desk.sent() == ["c[undo]"]
    assert b'"message":"undo 2"' in desk.call("c[undo]").params
    assert desk.workflow().state == "running"
    for name, following in (("c", ["a[undo]"]), ("a", ["b[undo]"]), ("b", [])):
        desk.complete(f"{name}[undo]")
        assert desk.sent() == following
    error = desk.workflow().error
    assert error is not None
    assert (desk.workflow().state, error.message, error.task) == ("failed", "declined", "pay")


def test_a_success_undoes_nothing() -> None:
    desk = booked("a")
    desk.complete("pay")
    assert desk.workflow().state == "completed"
    assert desk.states() == {"a": "completed", "pay": "completed"}


def test_a_cancel_undoes_too_and_what_could_not_be_undone_is_named() -> None:
    desk = booked("a", "b")
    desk.tell(inp.Cancel("c", "w", "changed my mind"))
    assert reason(desk, "b[undo]") == "running"
    desk.fail("b[undo]")
    assert desk.sent() == ["a[undo]"]
    desk.complete("a[undo]")
    assert desk.events["w"][-1] == ev.WorkflowCancelled(desk.now, "changed my mind; could not be undone: b")


def test_undo_comes_before_what_runs_last_and_after_it_if_that_fails() -> None:
    desk = Desk()
    desk.submit(task("a", undo=undo("a")), task("bad", "a"), last("clean"))
    desk.complete("a", {"n": 1})
    desk.fail("bad")
    assert desk.sent() == ["a[undo]"]
    assert reason(desk, "clean") == "undo"
    desk.complete("a[undo]")
    assert desk.sent() == ["clean"]
    other = Desk()
    other.submit(task("a", undo=undo("a")), last("clean"))
    other.complete("a", {"n": 1})
    other.fail("clean")
    assert other.sent() == ["a[undo]"]
    other.complete("a[undo]")
    assert other.workflow().state == "failed"


def test_items_are_undone_one_by_one() -> None:
    desk = Desk()
    many = ForEach(raw(["x", "y"]))
    own = task("m[undo]", params={"message": "${item} ${index} ${m.n}"})
    desk.submit(task("m", for_each=many, undo=own, params={"p": "${item}"}), task("bad", "m"))
    desk.complete("m[1]", {"n": 10})
    desk.complete("m[0]", {"n": 20})
    desk.fail("bad")
    assert desk.sent() == ["m[0][undo]"]
    assert b'"message":"x 0 20"' in desk.call("m[0][undo]").params
    desk.complete("m[0][undo]")
    assert b'"message":"y 1 10"' in desk.call("m[1][undo]").params
    desk.complete("m[1][undo]")
    assert desk.workflow().state == "failed"


def test_a_retry_runs_what_was_undone_and_what_was_made_of_it() -> None:
    desk = Desk()
    desk.submit(task("a", undo=undo("a")), task("of_a", "a"), task("other"), task("bad", "of_a"), last("clean"))
    desk.complete("a", {"n": 1})
    desk.complete("other")
    desk.complete("of_a")
    desk.fail("bad")
    desk.complete("a[undo]")
    desk.complete("clean")
    desk.tell(inp.Retry("r", "w"))
    assert desk.sent() == ["a"]
    assert desk.states() == {
        "a": "running", "of_a": "pending", "other": "completed", "bad": "pending", "clean": "pending",
        "a[undo]": "completed",
    }  # fmt: skip
    desk.complete("a", {"n": 2})
    desk.complete("of_a")
    desk.fail("bad")
    assert desk.call("a[undo]").attempt == 2, "a call is known by its attempt"
    assert b'"message":"undo 2"' in desk.call("a[undo]").params


def test_a_restart_in_the_middle_of_all_that_is_the_replay_and_goes_on() -> None:
    desk = booked("a", "b")
    desk.fail("pay")
    for step in ("b[undo]", "a[undo]"):
        desk = desk.restart()
        assert desk.states() == {name: t.state for name, t in replay(desk.events["w"]).tasks.items()}
        desk.provider("p#1")
        desk.complete(step)
    assert desk.workflow().state == "failed"
