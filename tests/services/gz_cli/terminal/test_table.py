import pytest
from hypothesis import given
from hypothesis import strategies as st

from gz_cli.terminal.ink import cells, clean
from gz_cli.terminal.table import pairs, table


def test_columns_are_aligned_and_numbers_stand_right() -> None:
    text = table(("id", "tasks", "held"), [("wf-1", 12, True), ("wf-234", 1200, False)])
    assert text.splitlines() == [
        "ID      TASKS  HELD",
        "wf-1       12   yes",
        "wf-234  1,200    no",
    ]


def test_text_columns_stand_left_and_nothing_trails() -> None:
    assert table(("a", "b"), [("x", None), ("longer", "y")]).splitlines() == ["A       B", "x", "longer  y"]


def test_without_rows_there_is_only_the_head() -> None:
    assert table(("id", "name"), []) == "ID  NAME"


def test_cells_are_cleaned_and_wide_ones_counted() -> None:
    assert table(("a", "b"), [("世\x1b", 1)]).splitlines() == ["A    B", "世   1"]


def test_pairs_leave_out_what_is_empty() -> None:
    assert pairs([("name", "Hello"), ("error", None), ("tasks", 2000)]) == "name:   Hello\ntasks:  2,000"


HEAD = ("id", "name", "status", "tasks")
ROWS = [("wf-1234567", "A rather long name of a workflow", "completed", 3), ("wf-2", "Short", "failed", 12)]


def test_a_narrow_terminal_gets_shorter_cells_and_then_lines_below_the_first_one() -> None:
    assert table(HEAD, ROWS, width=80, brief=("name",)) == table(HEAD, ROWS)
    shorter = table(HEAD, ROWS, width=45, brief=("name",))
    assert shorter.splitlines()[1] == "wf-1234567  A rather long …  completed      3"
    assert table(HEAD, ROWS, width=60).splitlines()[1:3] == [
        "wf-1234567  A rather long name of a         completed      3",
        "            workflow",
    ]
    assert table(HEAD, ROWS, width=40).splitlines() == [
        "wf-1234567",
        "  name: A rather long name of a workflow",
        "  status: completed  tasks: 3",
        "wf-2",
        "  name: Short  status: failed  tasks: 12",
    ]


def test_what_is_far_longer_than_the_rest_pushes_only_its_own_row() -> None:
    long = "x" * 300
    assert table(("a", "b", "c"), [("1", long, "2"), ("1", "y", "2")]).splitlines() == [
        "A  B  C",
        f"1  {long}  2",
        "1  y  2",
    ]


@given(
    st.lists(st.tuples(st.text(), st.text(), st.integers(), st.text()), max_size=5),
    st.integers(30, 200),
    st.sets(st.sampled_from(("name", "why"))),
)
def test_nothing_but_the_first_cell_is_wider_than_the_terminal(
    rows: list[tuple[str, str, int, str]], width: int, brief: set[str]
) -> None:
    lines = table(
        ("id", "name", "tasks", "why"), [(clean(row[0])[:10], *row[1:]) for row in rows], width=width, brief=brief
    )
    assert max(map(cells, lines.split("\n"))) <= width


@pytest.mark.parametrize("width", [1, 2, 3, 10**12])
def test_a_terminal_of_any_width_gets_its_table(width: int) -> None:
    """Also where somebody has set COLUMNS to something that none has."""
    told = table(("id", "name", "why"), [("wf-1", "a name", "a reason of some words 漢字")], width=width)
    assert "".join(told.split()).startswith("wf-1name:aname" if width < 9 else "IDNAMEWHYwf-1aname")
