from gleitzeit.model.definition import Definition, TaskDefinition
from gz_cli.formats import GraphFormat
from gz_cli.graph import COLLAPSE_ABOVE, draw

ODD = Definition(name='"N"', tasks=(TaskDefinition(id='a "b" <c>', method="echo/echo"),))


def test_the_tree(definition: Definition) -> None:
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
