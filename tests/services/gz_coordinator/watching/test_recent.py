"""What a coordinator remembers of workflows that began lately."""

from hypothesis import given
from hypothesis import strategies as st

from gz_coordinator.watching.recent import ALL_BYTES, WORKFLOW_BYTES, Recent

NAMES = ("a", "b", "c")


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 3), st.integers(0, WORKFLOW_BYTES // 4)), max_size=40))
def test_it_knows_all_that_is_durable_or_says_that_it_does_not(steps: list[tuple[str, int, int]]) -> None:
    """0 events: another coordinator has the workflow for a while, and appends one."""
    recent, durable = Recent(), {name: list[bytes]() for name in NAMES}
    for name, count, size in steps:
        if count:
            events = [b"%d" % number + b"x" * size for number in range(count)]
            recent.add(name, len(durable[name]) + 1, events)
            durable[name] += events
        else:
            recent.clear()
            assert recent.size_bytes == 0
            durable[name].append(b"elsewhere")
        for known in NAMES:
            for seq in range(len(durable[known]) + 1):
                assert recent.after(known, seq) in (None, durable[known][seq:])


def test_a_short_workflow_is_known_and_a_long_one_is_not() -> None:
    recent = Recent()
    recent.add("a", 1, [b"1", b"2"])
    recent.add("a", 3, [b"3"])
    assert recent.after("a", 1) == [b"2", b"3"]
    assert recent.after("a", 3) == []
    assert recent.after("a", 4) is None
    recent.add("a", 4, [b"x" * WORKFLOW_BYTES])
    assert recent.after("a", 0) is None
    recent.add("b", 2, [b"its beginning was not seen"])
    assert recent.after("b", 0) is None
    assert recent.size_bytes == 0


def test_it_has_a_bound_and_forgets_what_began_first() -> None:
    recent = Recent()
    size = WORKFLOW_BYTES // 2
    count = 2 * ALL_BYTES // size
    for number in range(count):
        recent.add(f"w{number}", 1, [b"x" * size])
        assert recent.size_bytes <= ALL_BYTES
    assert recent.after("w0", 0) is None
    assert recent.after(f"w{count - 1}", 0) is not None
