import pytest

from gleitzeit.spec.loading.load import Document, load_text
from gleitzeit.spec.problems import (
    Problem,
    document_error,
    from_wire,
    located,
    problems_of,
    render,
    sentence,
    show_path,
    to_wire,
)

TEXT = """\
name: demo
tasks:
  - id: a
    params:
      message: hi ${nobody.x} and ${b.y}
\tcode: |
"""
DOCUMENT = load_text(
    "name: demo\ntasks:\n  - id: a\n    params: {message: 'hi ${nobody.x}'}\n    code: |\n      x = 1\n      y = (\n"
)


def test_a_value_with_its_line_and_a_caret() -> None:
    assert render([Problem(("tasks", 0, "id"), "no good", "b")], DOCUMENT) == (
        "<text>:3:9: error: no good (did you mean 'b'?)\n    3 |   - id: a\n      |         ^"
    )


def test_the_key_the_needle_or_the_line_of_a_program() -> None:
    found = located(
        [
            Problem(("tasks", 0, "code"), "line", text_line=2),
            Problem(("tasks", 0, "params", "message"), "needle", needle="${nobody.x}"),
            Problem(("tasks", 0, "params", "message"), "key", at_key=True),
            Problem(("tasks", 0, "params", "message"), "not there", needle="zzz"),
            Problem(("tasks", 0, "code"), "in the line", text_line=2, offset=4),
            Problem(("tasks", 0, "code"), "beyond the end", text_line=99),
        ],
        DOCUMENT,
    )
    assert [(one.message, one.line, one.column) for one in found] == [
        ("key", 4, 14),
        ("not there", 4, 23),
        ("needle", 4, 27),
        ("beyond the end", 5, 11),
        ("line", 7, 7),
        ("in the line", 7, 11),
    ]


def test_without_a_text_the_path_is_shown() -> None:
    problem = Problem(("tasks", 3, "params", "x"), "bad", severity="warning")
    assert render([problem], Document("<object>", "", {})) == "<object>: warning: tasks[3].params.x: bad"
    assert render([Problem((), "bad")], Document("d", "", {})) == "d: error: bad"


def test_the_line_of_a_program_of_which_the_document_does_not_tell_the_lines() -> None:
    problem = Problem(("code",), "bad", text_line=3)
    assert render([problem], Document("<object>", "", {})) == "<object>: error: code: bad (line 3 of it)"
    assert document_error([problem], "<object>").message == "<object>: code: bad (line 3 of it)"
    quoted = load_text('code: "x = 1\\ny = 2\\nz = ("\n')
    assert render([problem], quoted).startswith("<text>:1:7: error: bad (line 3 of it)\n")
    assert "of it" not in render([Problem(("tasks", 0, "code"), "bad", text_line=2)], DOCUMENT)
    assert "of it" not in render([Problem(("code",), "bad", text_line=1)], quoted)


def test_a_known_place_is_believed() -> None:
    assert render([Problem((), "bad", line=2, column=3)], Document("d", "one\n\ttwo", None)) == (
        "d:2:3: error: bad\n    2 | \ttwo\n      | \t ^"
    )
    assert render([Problem((), "bad", line=9, column=3)], Document("d", "one", None)) == "d:9:3: error: bad"


def test_the_caret_stands_below_what_is_wide_and_what_has_no_width() -> None:
    assert render([Problem((), "bad", line=1, column=5)], Document("d", "日本e\u0301x", None)).endswith(
        "| " + " " * 5 + "^"
    )


def test_a_terminal_is_told_nothing_by_a_document() -> None:
    assert "\n    1 | a␛[2J\tb�\n" in render(
        [Problem((), "bad", line=1, column=1)], Document("d", "a\x1b[2J\tb\x9b", None)
    )


def test_of_a_very_long_line_a_part_is_shown() -> None:
    document = Document("d", "x" * 5000 + "!" + "y" * 5000, None)
    lines = render([Problem((), "bad", line=1, column=5001)], document).splitlines()
    assert all(len(line) < 200 for line in lines)
    assert lines[1][lines[2].index("^")] == "!"


def test_all_are_shown_in_the_order_of_the_lines() -> None:
    found = [Problem(("tasks",), "second"), Problem(("name",), "first")]
    assert render(found, DOCUMENT).index("first") < render(found, DOCUMENT).index("second")


def test_what_it_refers_to_gets_its_line() -> None:
    problem = Problem(("tasks", 0, "code"), "twice; the first is tasks[0].id", see=("tasks", 0, "id"))
    [found] = located([problem], DOCUMENT)
    assert found.message == "twice; the first is tasks[0].id in line 3"
    assert located([found], DOCUMENT) == [found]
    assert located([problem], Document("d", "", {})) == [problem]


def test_of_very_many_the_first_errors_are_shown() -> None:
    text = "\n".join(f"k{n}: 1" for n in range(200))
    warnings = [Problem((f"k{n}",), f"warning {n}", severity="warning") for n in range(60)]
    errors = [Problem((f"k{n}",), f"error {n}.") for n in range(100, 148)]
    lines = render([Problem((), "7 more", more=7), *warnings, *errors], load_text(text)).splitlines()
    heads = [line for line in lines if line.startswith("<text>")]
    assert len(heads) == 51
    assert [head.endswith("warning 1") for head in heads[:3]] == [False, True, False]
    assert heads[-2].endswith("error 147.")
    assert heads[-1] == "<text>: 65 more problems are not shown"
    assert lines[-1] == heads[-1]


def test_problems_travel() -> None:
    problem = Problem(
        ("tasks", 1), "m", "s", "warning", 2, 3, at_key=True, needle="n", text_line=4, see=("a", 0), more=2
    )
    assert from_wire([to_wire(problem)]) == (problem,)
    assert to_wire(Problem((), "m")) == {"path": [], "message": "m", "suggestion": "", "severity": "error"}
    assert from_wire([{"path": ["a", 0], "message": "m"}, {"nonsense": 1}, 3]) == (Problem(("a", 0), "m"),)
    assert from_wire(None) == ()


def test_an_error_carries_all_and_says_the_first_that_counts() -> None:
    found = [Problem((), "careful", severity="warning"), Problem(("a",), "wrong", "right"), Problem((), "also")]
    error = document_error(found, "flow.yaml")
    assert str(error) == "flow.yaml: a: wrong (did you mean 'right'?) (and 2 more)"
    assert str(document_error([Problem(("a",), "wrong", line=3, column=7)], "flow.yaml")) == "flow.yaml:3:7: wrong"
    assert problems_of(error) == tuple(found)
    assert error.code == -28001


@pytest.mark.parametrize(
    ("path", "shown"), [((), ""), (("a",), "a"), (("a", 0, "b"), "a[0].b"), (("tasks", "x", 1), "tasks.x[1]")]
)
def test_paths_for_people(path: tuple[str | int, ...], shown: str) -> None:
    assert show_path(path) == shown


def test_a_word_that_looks_the_same_is_said_to_be_in_another_form() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    told = sentence(Problem((), f"there is no task '{composed}'", decomposed))
    assert told == f"there is no task '{composed}' (did you mean '{decomposed}', in another form of Unicode?)"
    assert sentence(Problem((), "there is no task 'cafè'", composed)).endswith(f"(did you mean '{composed}'?)")
