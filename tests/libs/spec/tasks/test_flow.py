"""`when`, `for_each`, `matrix`, `switch`, `until`, `always`, `on_failure`, `undo`, `defaults`: from the document to its
normal form, and what authors are told."""

import gc
import time
from typing import Any

import msgspec
import pytest

from gleitzeit.model.definition import Case, Definition, Switch, Until
from gleitzeit.schemas import Catalogue, builtin
from gleitzeit.spec.check import check
from gleitzeit.spec.loading.load import load_text
from gleitzeit.spec.problems import render

CATALOGUE: Catalogue = builtin()


def good(text: str) -> Definition:
    document = load_text(text, name="f.yaml")
    checked = check(document.value, CATALOGUE)
    assert checked.definition is not None, render(checked.problems, document)
    assert not checked.problems, render(checked.problems, document)
    return checked.definition


def told(text: str) -> str:
    """What the author reads."""
    document = load_text(text, name="f.yaml")
    return render(check(document.value, CATALOGUE).problems, document)


HEAD = """name: n
tasks:
  - {id: check, method: echo/echo, params: {message: hi}}
  - id: t
    method: echo/echo
    params: {message: x}
"""


@pytest.mark.parametrize(
    ("keys", "when"),
    [
        ('when: check.response == "hi"', '${check.response} == "hi"'),
        ("when: \"${check.response == 'hi'}\"", "(${check.response} == 'hi')"),
        (
            'condition: "{{ check.response and not inputs.check.echoed }}"',
            "( ${check.response} and not ${inputs.check.echoed} )",
        ),
        ('conditions: ["${check.response} == 1", "true"]', "(${check.response} == 1) && (true)"),
        ("when: false", "false"),
    ],
)
def test_conditions_in_three_spellings_are_one_expression(keys: str, when: str) -> None:
    task = good(f"{HEAD}    {keys}\n").tasks[1]
    assert task.when == when
    assert task.dependencies == (("check",) if "check" in keys else ())


def test_for_each_over_a_list_a_reference_and_a_map() -> None:
    for over, written in (
        ("[1, 2]", b"[1,2]"),
        ('"${check.response}"', b'"${check.response}"'),
        ("check.response", b'"${check.response}"'),
        ("{items: [1], max_parallel: 3}", b"[1]"),
    ):
        task = good(f"{HEAD}    for_each: {over}\n").tasks[1]
        assert task.for_each is not None
        assert bytes(task.for_each.over) == written
        assert task.for_each.references == (b"$" in written)
        assert task.dependencies == (("check",) if b"check" in written else ())
    assert task.for_each.max_parallel == 3


def test_a_matrix_and_what_is_said_of_its_items() -> None:
    text = (
        HEAD
        + """    matrix: {size: [1, 2], colour: "${check.response}", exclude: [{size: 1}],
             include: [{size: 9, colour: x}]}
    max_parallel: 2
    max_items: 50
    on_item_error: collect
    when: matrix.size > 1
  - {id: join, method: echo/echo, params: {message: "${t.response} ${t[0].echoed} ${t.result[1]}"}}
"""
    )
    _, task, join = good(text).tasks
    assert task.for_each is not None
    over = msgspec.json.decode(task.for_each.over)
    assert over == {
        "axes": {"size": [1, 2], "colour": "${check.response}"},
        "include": [{"size": 9, "colour": "x"}],
        "exclude": [{"size": 1}],
    }
    assert (task.for_each.max_parallel, task.for_each.max_items, task.for_each.on_item_error) == (2, 50, "collect")
    assert task.for_each.when_each, "its condition is one of each item"
    assert join.dependencies == ("t",)


def test_a_switch_names_tasks_that_then_wait_for_it() -> None:
    definition = good("""name: n
tasks:
  - {id: classify, method: echo/echo, params: {message: billing}}
  - {id: route, switch: "${classify.response}", cases: {billing: [refund, Tell], tech: answer}, default: human}
  - {id: refund, method: echo/echo, params: {message: x}}
  - {id: tell, name: Tell, method: echo/echo, params: {message: x}}
  - {id: answer, method: echo/echo, params: {message: "${route.value} ${route.case}"}}
  - {id: human, method: echo/echo, params: {message: x}}
""")
    cases = (Case(("refund", "tell"), "billing"), Case(("answer",), "tech"))
    assert definition.tasks[1].switch == Switch("${classify.response}", cases, ("human",))
    assert [task.dependencies for task in definition.tasks[2:]] == [("route",)] * 4
    listed = good(
        """name: n
tasks:
  - {id: c, method: echo/echo, params: {message: 1}}
  - {id: r, cases: [{when: "c.response == '1'", run: a}, {when: true, run: [b]}]}
  - {id: a, method: echo/echo, params: {message: x}}
  - {id: b, method: echo/echo, params: {message: x}}
""".replace("message: 1", 'message: "1"')
    )
    assert listed.tasks[1].switch == Switch("", (Case(("a",), "", "${c.response} == '1'"), Case(("b",), "", "true")))
    assert listed.tasks[1].dependencies == ("c",)


def test_until_with_and_without_bounds() -> None:
    task = good(f"{HEAD}    until: t.response == 'x'\n").tasks[1]
    assert task.until == Until("${t.response} == 'x'")
    assert task.dependencies == ()
    assert good(f"{HEAD}    until: result.n > 1 && has(result.m)\n").tasks[1].until == Until(
        "${t.result.n} > 1 && has(${t.result.m})"
    )
    text = HEAD + "    until: {condition: '${loop.round > 2}', max: 5, every: 2s, on_exhausted: continue}\n"
    assert good(text).tasks[1].until == Until("(${loop.round} > 2)", 5, 2.0, "continue")


def test_what_runs_at_the_end() -> None:
    definition = good("""name: n
tasks:
  - {id: a, method: echo/echo, params: {message: x}}
  - {id: soon, method: echo/echo, params: {message: x}, always: true, dependencies: [a]}
  - {id: after, method: echo/echo, params: {message: x}, validation_behavior: continue}
  - {id: mail, method: echo/echo, params: {message: "${after.response}"}}
always:
  - {id: clean, method: echo/echo, params: {message: "${a.response} ${workflow.status} ${workflow.error}"}}
  - {id: why, dependencies: [clean], method: echo/echo, params: {message: "${workflow.error.name}"}}
on_failure:
  - {id: alarm, method: echo/echo, params: {message: x}}
""")
    found = {task.id: (task.trigger, task.late) for task in definition.tasks}
    assert found == {
        "a": ("success", False), "soon": ("always", False), "after": ("always", True), "mail": ("success", True),
        "clean": ("always", True), "why": ("always", True), "alarm": ("failure", True),
    }  # fmt: skip


def test_an_undo_is_a_call_that_waits_for_nobody() -> None:
    undo = (
        good(
            HEAD + "    undo: {method: echo/echo, params: {message: '${t.response} ${check.response}'}, timeout: 5s}\n"
        )
        .tasks[1]
        .undo
    )
    assert undo is not None
    assert (undo.id, undo.method, undo.dependencies, undo.timeout_seconds) == ("t[undo]", "echo/echo", (), 5.0)
    assert undo.retry.max_attempts == 3
    assert good(HEAD + "    for_each: [1]\n    undo: {method: echo/echo, params: {message: '${item}'}}\n").tasks[1].undo


def test_defaults_are_for_tasks_that_say_nothing_themselves() -> None:
    definition = good("""name: n
defaults:
  timeout: 30s
  retry: 3
  tags: [x]
  params: {model: small, message: hello}
  methods: {llm/chat: {timeout: 5m, params: {temperature: 0.1}}}
tasks:
  - {id: a, method: llm/chat, params: {prompt: hi}}
  - {id: b, method: echo/echo, timeout: 1s, retry: 1}
""")
    a, b = definition.tasks
    assert msgspec.json.decode(a.params) == {"prompt": "hi", "temperature": 0.1, "model": "small"}
    assert (a.timeout_seconds, a.retry.max_attempts, a.tags) == (300.0, 3, ("x",))
    assert msgspec.json.decode(b.params) == {"message": "hello"}
    assert (b.timeout_seconds, b.retry.max_attempts) == (1.0, 1)


@pytest.mark.parametrize(
    ("defaults", "of_chat", "of_echo"),
    [
        ("{provider: openai}", "openai", ""),
        ("{provider: llamacpp}", "llamacpp", ""),
        ("{provider: mine}", "mine", "mine"),
        ("{provider: openai, methods: {echo/echo: {provider: ollama}}}", "openai", "ollama"),
    ],
)
def test_a_model_server_is_the_default_of_those_that_ask_a_model(defaults: str, of_chat: str, of_echo: str) -> None:
    definition = good(f"""name: n
defaults: {defaults}
tasks:
  - {{id: a, method: llm/chat, params: {{prompt: hi, model: m}}}}
  - {{id: b, method: echo/echo, params: {{message: hi}}}}
""")
    assert [task.provider for task in definition.tasks] == [of_chat, of_echo]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "when: chek.response == 1",
            "chek.response: there is no task 'chek' (did you mean 'check'?)\n"
            "    7 |     when: chek.response == 1\n      |           ^",
        ),
        (
            "when: check.response = 1",
            "f.yaml:7:26: error: '=' compares nothing: write '=='\n"
            "    7 |     when: check.response = 1\n      |                          ^",
        ),
        (
            "when: check.respons == 1",
            "has no 'respons', only response, echoed, message, timestamp (did you mean 'response'?)",
        ),
        ("when: sizee(check.response) > 1", "there is no function 'sizee'"),
        ("when: [1]", "a condition is a text like"),
        ("when: yes", "yes: there is no task 'yes'; a text stands in quotes: 'yes'"),
        ("when: t.response == 1", "task 't' refers to its own result"),
        ("params: {message: '${item.x}'}", "'item' stands for something only in a task with 'for_each' or 'matrix'"),
        ("params: {message: '${matrix.x}'}", "'matrix' stands for something only in a task with 'matrix'"),
        (
            "for_each: [{path: 1}]\n    when: item.pth == 1",
            "item.pth: 'item' has no 'pth', only path (did you mean 'path'?)",
        ),
        ("for_each: '${item.x}'", "'item' stands for something only in a task with"),
        ("for_each: 'a ${check.response}'", "'for_each' is a list, or one reference to a list, like '${task.items}'"),
        ("for_each: 5", "'for_each' is a list, or a reference to one"),
        ("for_each: {itms: [1]}", "for_each has no key 'itms' (did you mean 'items'?)"),
        ("for_each: {glob: '*.txt'}", "a glob is expanded where the author is"),
        ("for_each: [1, 2]\n    max_items: 1", "2 items; max_items is 1"),
        ("for_each: [1]\n    matrix: {a: [1]}", "a task has 'for_each' or 'matrix', not both"),
        (
            "for_each: [1]\n    on_item_error: colect",
            "'on_item_error' must be one of fail, skip, collect (did you mean 'collect'?)",
        ),
        ("max_parallel: 3", "'max_parallel' of a task has a meaning only with 'for_each' or 'matrix'"),
        ("matrix: {size: 3}", "'size' must be a list, or a reference to one"),
        ("matrix: [1]", "'matrix' is a map of lists"),
        ("matrix: {size: [1], exclude: [{sze: 1}]}", "the matrix has no 'sze' (did you mean 'size'?)"),
        (
            "matrix: {size: [1]}\n    when: matrix.sze == 1",
            "matrix.sze: 'matrix' has no 'sze', only size (did you mean 'size'?)",
        ),
        ("switch: '${check.response}'\n    cases: {a: chek}", "a task has a 'switch' or a 'method', not both"),
        ("until: {max: 3}", "'until' needs a 'condition'"),
        ("until: {condition: t.response, max: 0}", "'max' must be a whole number from 1 to 1000000"),
        ("until: {conditon: t.response, max: lots}", "until has no key 'conditon' (did you mean 'condition'?)"),
        ("until: {conditon: t.response, max: lots}", "'max' must be a whole number"),
        ("until: t.response &&", "the expression ends too early"),
        ("until: loop.rond > 1", "loop.rond: 'loop' has no 'rond', only round, last (did you mean 'round'?)"),
        ("until: check.response == 'x'", "so that no round can change it"),
        ("until: t.response\n    cache: 1h", "'cache' has no meaning beside 'until'"),
        ("always: true\n    on_failure: true", "a task runs always or on_failure, not both"),
        (
            "params: {message: '${workflow.status}'}",
            "known only at the end, in a task that runs 'always' or 'on_failure'",
        ),
        ("undo: {params: {}}", "the task has no 'method'"),
        ("undo: {method: echo/echo, for_each: [1]}", "an undo has no key 'for_each'"),
        ("undo: {method: echo/ecko}", "has no method 'echo/ecko' (did you mean 'echo/echo'?)"),
        ("fr_each: [1]", "a task has no key 'fr_each' (did you mean 'for_each'?)"),
    ],
)
def test_mistakes_are_told_with_their_place(keys: str, message: str) -> None:
    head = HEAD.replace("    params: {message: x}\n", "") if keys.startswith("params") else HEAD
    seen = told(f"{head}    {keys}\n")
    assert message in seen
    assert "f.yaml:" in seen
    assert "^" in seen


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{id: r, switch: '${a.response}', cases: {x: bb}}", "there is no task 'bb' to run (did you mean 'b'?)"),
        ("{id: r, switch: '${a.response}'}", "a switch needs 'cases'"),
        ("{id: r, cases: {x: b}}", "cases by value need a 'switch'"),
        ("{id: r, switch: a.response, cases: [{run: b}]}", "a case needs a 'when'"),
        ("{id: r, switch: a.response, cases: {x: b}, retry: 3}", "'retry' has no meaning beside 'switch'"),
        ("{id: r, switch: a.response, cases: {x: a}}", "these tasks wait for each other: a → r → a"),
        ("{id: r, switch: a.response, cases: {x: r}}", "task 'r' waits for itself"),
        ("{id: r, method: echo/echo, params: {message: 1}, default: b}", "'default' has a meaning only with 'cases'"),
    ],
)
def test_mistakes_of_a_switch(text: str, message: str) -> None:
    tasks = (
        "  - {id: a, method: echo/echo, params: {message: x}}\n  - {id: b, method: echo/echo, params: {message: x}}\n"
    )
    assert message in told(f"name: n\ntasks:\n{tasks}  - {text}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defaults: {tiemout: 3}", "defaults has no key 'tiemout' (did you mean 'timeout'?)"),
        ("defaults: {methods: {llm/chta: {}}}", "there is no method 'llm/chta' (did you mean 'llm/chat'?)"),
        (
            "defaults: {methods: {llm/chat: {params: {modle: x}}}}",
            "llm/chat has no parameter 'modle' (did you mean 'model'?)",
        ),
        ("always: {id: x}", "'always' is a list of tasks that run at the end"),
    ],
)
def test_mistakes_of_the_workflow(text: str, message: str) -> None:
    assert message in told(f"name: n\ntasks: [{{id: a, method: echo/echo, params: {{message: x}}}}]\n{text}\n")


def test_expressions_stand_in_any_value() -> None:
    task = good(HEAD.replace("message: x", "message: \"${check.response || 'none'} ${1 + 2}\"")).tasks[1]
    assert task.dependencies == ("check",)


def test_ten_thousand_tasks_with_conditions_are_checked_in_time_that_grows_with_them() -> None:
    def cost(count: int) -> float:
        tasks: list[dict[str, Any]] = [
            {
                "id": f"t{n}",
                "method": "echo/echo",
                "params": {"message": "x"},
                "when": f"t{n - 1}.response == 'x'" if n else True,
            }
            for n in range(count)
        ]
        began = time.process_time()
        assert check({"name": "n", "tasks": tasks}, CATALOGUE).definition is not None
        return time.process_time() - began

    cost(10)
    gc.collect()
    gc.disable()  # what other tests have left in memory is looked through again and again otherwise
    try:
        assert min(cost(4_000) for _ in range(3)) < 8 * min(cost(1_000) for _ in range(3))
    finally:
        gc.enable()
