from typing import Any

from gleitzeit.client.views import ErrorView, TaskView
from gz_cli.following.failures import SHOWN_LINES, details, of_tasks


def failed(name: str, **data: Any) -> TaskView:
    return TaskView(name, name, "python/execute", "failed", 1, error=ErrorView(-29002, "it broke", data=data or None))


def test_where_it_was_and_what_it_had_printed() -> None:
    data = {"traceback": "Traceback:\n  line 3", "line": 3, "output": "hello\n", "stderr": "", "exit_code": 1}
    assert details(ErrorView(-29002, "x", data=data)).splitlines() == [
        "Traceback:",
        "  line 3",
        "it had printed:",
        "  hello",
    ]


def test_without_a_traceback_the_line_is_told() -> None:
    assert details(ErrorView(-29002, "x", data={"line": 2, "text": "  x = (\n"})) == "line 2: x = ("


def test_of_much_output_the_end_is_shown() -> None:
    printed = "\n".join(str(number) for number in range(100))
    lines = details(ErrorView(-29002, "x", data={"output": printed})).splitlines()
    assert lines[:2] == ["it had printed:", "  …"]
    assert lines[2:] == [f"  {number}" for number in range(100 - SHOWN_LINES, 100)]


def test_what_other_providers_send_is_not_misread() -> None:
    for data in (None, [1], "text", {"traceback": 7, "output": ["x"], "line": "3"}):
        assert details(ErrorView(-29002, "x", data=data)) == ""
    assert details(None) == ""


def test_only_the_first_of_many_failures_are_told() -> None:
    text = of_tasks([failed(f"t{number}", line=number) for number in range(5)] + [failed("dull")])
    assert text.split("\n\n") == ["In t0:\n  line 0", "In t1:\n  line 1", "In t2:\n  line 2",
                                  "and 2 more failed; `gz result ID TASK` shows why"]  # fmt: skip
    assert of_tasks([failed("dull")]) == ""


def test_what_a_provider_told_nobody_leads_to_its_log() -> None:
    assert "error_id 39-1" in details(ErrorView(-32603, "internal error", data={"error_id": "39-1"}))
