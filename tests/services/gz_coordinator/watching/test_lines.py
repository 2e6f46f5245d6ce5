import pytest

from gz_coordinator.watching import lines as lines_module
from gz_coordinator.watching.lines import Lines


def said(lines: Lines, workflow_id: str, number: int = 0) -> list[tuple[int, int, bytes]]:
    return [(line.number, line.seq, line.params) for line in lines.after(workflow_id, number)]


def test_lines_are_kept_by_workflow_with_their_place_among_the_events() -> None:
    lines = Lines()
    lines.add("a", 2, b"one")
    lines.add("b", 7, b"other")
    assert lines.add("a", 3, b"two").number == lines.last == 3
    assert said(lines, "a") == [(1, 2, b"one"), (3, 3, b"two")]
    assert said(lines, "a", 1) == [(3, 3, b"two")]
    assert said(lines, "nobody") == []


def test_a_workflow_that_says_much_loses_its_first_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "WORKFLOW_BYTES", 1_000)
    lines = Lines()
    for number in range(10):
        lines.add("a", 1, b"x" * 100)
        lines.add("b", 1, b"%d" % number)
    assert [number for number, _, _ in said(lines, "a")] == [15, 17, 19]
    assert len(said(lines, "b")) == 4
    lines.add("a", 1, b"x" * 2_000)
    assert said(lines, "a") == []


def test_all_together_are_bounded_and_the_silent_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "ALL_BYTES", 1_000)
    lines = Lines()
    for number in range(100):
        lines.add(f"w{number}", 1, b"x" * 100)
        lines.add("loud", 1, b"y")
        assert lines.size_bytes <= 1_000
    assert said(lines, "loud")
    assert not said(lines, "w0")
