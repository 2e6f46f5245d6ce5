from gleitzeit.model.definition import Definition, TaskDefinition
from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check
from gz_cli.drawing.graph import COLLAPSE_ABOVE, draw
from gz_cli.formats import GraphFormat

ODD = Definition(name='"N"', tasks=(TaskDefinition(id='a "b" <c>', method="echo/echo"),))


def test_the_tree(definition: Definition) -> None:
    assert draw(definition, GraphFormat.TEXT) == draw(definition, GraphFormat.ASCII)
    assert draw(definition, GraphFormat.ASCII).splitlines() == [
        "Report",
        "hello  echo/echo",
        "find  python/execute",
        "├─ slice-1  python/execute",
        "├─ slice-2  python/execute",
        "├─ slice-3  python/execute",
        "└─ join  python/execute  after slice-1, slice-2, slice-3",
    ]


def test_a_large_fan_out_is_one_line() -> None:
    number = COLLAPSE_ABOVE + 1
    tasks = tuple(TaskDefinition(id=f"t{index}", method="echo/echo") for index in range(number))
    assert draw(Definition(name="N", tasks=tasks), GraphFormat.ASCII) == f"N\nt0 … t{number - 1} ({number})  echo/echo"


def test_mermaid(definition: Definition) -> None:
    lines = draw(definition, GraphFormat.MERMAID).splitlines()
    assert lines[:3] == [
        "flowchart TD",
        '    t0["hello<br/><i>echo/echo</i>"]',
        '    t1["find<br/><i>python/execute</i>"]',
    ]
    assert "    t1 --> t2" in lines
    assert sum(" --> " in line for line in lines) == 6


def test_dot(definition: Definition) -> None:
    lines = draw(definition, GraphFormat.DOT).splitlines()
    assert lines[0] == 'digraph "Report" {'
    assert '  "hello" [label="hello\\necho/echo"];' in lines
    assert '  "slice-3" -> "join";' in lines
    assert lines[-1] == "}"


def test_odd_names_break_no_drawing() -> None:
    assert 't0["a &quot;b&quot; &lt;c&gt;<br/>' in draw(ODD, GraphFormat.MERMAID)
    assert '"a \\"b\\" <c>" [label=' in draw(ODD, GraphFormat.DOT)


FLOW = {
    "name": "n",
    "tasks": [
        {"id": "a", "method": "python/execute", "code": "result = 1", "undo": {"method": "echo/echo"}},
        {"id": "b", "for_each": "${a.result}", "method": "echo/echo"},
        {"id": "m", "matrix": {"x": [1], "y": [2]}, "method": "echo/echo"},
        {"id": "s", "switch": "${a.result}", "cases": {"k": "c"}},
        {"id": "c", "method": "echo/echo"},
        {"id": "w", "when": "a.result > 1", "method": "echo/echo"},
        {"id": "u", "method": "echo/echo", "until": "u.response == 1"},
        {"id": "n", "workflow": {"name": "child", "tasks": [{"id": "x", "method": "echo/echo"}]}},
        {"id": "e", "method": "echo/echo", "dependencies": ["a"], "on_failure": True},
    ],
}


def test_what_is_special_is_shown_in_every_form() -> None:
    found = check(FLOW, builtin())
    assert found.definition is not None, found.problems
    special = ("undone by echo/echo", "for each of ${a.result}", "for each of x × y", "by ${a.result}: k",
               "until ${u.response} == 1", "runs child (1 task)", "on failure")  # fmt: skip
    for form in GraphFormat:
        drawn = draw(found.definition, form)
        assert [words for words in special if words not in drawn] == [], form
    assert "if ${a.result} > 1" in draw(found.definition, GraphFormat.ASCII)
    mermaid = draw(found.definition, GraphFormat.MERMAID)
    assert "t1@{ shape: procs" in mermaid
    assert 't3{"' in mermaid
    assert 't7[["' in mermaid
    assert "t0 -.-> t8" in mermaid
    dot = draw(found.definition, GraphFormat.DOT)
    assert dot.count("shape=box3d") == 2
    assert dot.count("style=dashed") == 3
