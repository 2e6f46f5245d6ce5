from gz_cli.table import pairs, table


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


def test_a_narrow_terminal_gets_shorter_texts_and_then_fewer_columns() -> None:
    head, rows = ("id", "name", "status", "tasks"), [("wf-1234567", "A rather long name", "completed", 3)]
    assert table(head, rows, width=60) == table(head, rows)
    assert table(head, rows, width=40).splitlines()[1] == "wf-1234567  A rather …  completed      3"
    assert table(head, rows, width=30).splitlines()[1] == "wf-1234567  A rathe…  complet…"
    assert table(head, rows, width=12).splitlines()[1] == "wf-1234567"
