"""How rows are found by name: as a piece of the index of names, whatever else there is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.journal.base import Find
from gleitzeit.journal.database import Database
from gleitzeit.journal.finding import SUMMARY_COLUMNS, above, branches, order


@given(st.text(min_size=1, max_size=3), st.text(max_size=3))
def test_what_is_above_a_prefix_is_above_all_that_begins_with_it(prefix: str, rest: str) -> None:
    if "\U0010ffff" not in rest:  # no character at all, and in no name
        assert (prefix + rest).encode("utf-8", "surrogatepass") < above(prefix).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("after", ["", "wf-a~t[5]~1"])
def test_sqlite_walks_over_the_index_of_names_from_page_to_page(tmp_path: Path, after: str) -> None:
    database = Database(tmp_path / "j.db")
    query = Find("child", stream_prefix="wf-a~", after=after, limit=10)
    ((where, values),) = branches(query)
    text = f"SELECT {SUMMARY_COLUMNS} FROM stream JOIN tail ON tail.stream = id WHERE {where} ORDER BY {order(query)}"
    rows = database.file.connection.execute(f"EXPLAIN QUERY PLAN {text} LIMIT ?", (*values, query.limit)).fetchall()
    plan = " | ".join(row[-1] for row in rows)
    database.close()
    assert "USING INDEX sqlite_autoindex_stream_1 (name>? AND name<?)" in plan, plan
    assert "TEMP B-TREE" not in plan
