"""The table has no gaps: every row is held by a test that exists, and every case belongs to a row."""

import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from reads import READS, REFUSED
from rows import HELD, LATER, ROWS
from runs import RUNS

ROOT = Path(__file__).parents[3]
CASES = {case.row for case in (*READS, *REFUSED, *RUNS)}


def test_every_case_belongs_to_a_row() -> None:
    assert set(ROWS) >= CASES
    assert set(HELD) | set(LATER) <= set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_held(row: str) -> None:
    assert (row in CASES) + (row in LATER) <= 1
    assert row in CASES or row in HELD or row in LATER


@pytest.mark.parametrize("test", sorted(set(HELD.values())))
def test_what_holds_a_row_exists(test: str) -> None:
    """Without a name behind `::` it is the whole file."""
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    tests = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert name in tests if name else any(one.startswith("test_") for one in tests)
