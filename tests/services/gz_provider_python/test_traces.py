"""Tracebacks with nothing in them but what their reader wrote."""

import json
import textwrap

from gz_provider_python.traces import describe, last_line, remember_source, trimmed


def failing(source: str, filename: str = "<code>") -> BaseException:
    """The exception that a script raises, with the frames of this file around it."""
    remember_source(filename, source)
    try:
        exec(compile(source, filename, "exec"), {"json": json})
    except Exception as error:  # noqa: BLE001 - the scripts below raise all sorts
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        return error
    raise AssertionError("the script was to fail")


def test_a_traceback_has_the_lines_of_the_script() -> None:
    error = failing("def half(x):\n    return x / 0\n\nhalf(3)\n")
    shown = trimmed(error)
    assert 'File "<code>", line 4, in <module>\n    half(3)' in shown
    assert 'File "<code>", line 2, in half\n    return x / 0' in shown
    assert shown.endswith("ZeroDivisionError: division by zero")
    assert last_line(error) == 2


def test_frames_of_the_standard_library_are_left_out() -> None:
    error = failing("json.loads('{')")
    assert "decoder.py" not in trimmed(error)
    assert last_line(error) == 1


def test_causes_are_shown_without_foreign_frames_too() -> None:
    error = failing(
        textwrap.dedent("""\
            try:
                json.loads('{')
            except ValueError as error:
                raise RuntimeError('no settings') from error
        """)
    )
    shown = trimmed(error)
    assert "JSONDecodeError" in shown
    assert "direct cause" in shown
    assert "decoder.py" not in shown
    assert describe(error) == "RuntimeError: no settings"


def test_members_of_a_group_are_trimmed() -> None:
    error = failing("try:\n  json.loads('{')\nexcept ValueError as e:\n  raise ExceptionGroup('several', [e])")
    assert "decoder.py" not in trimmed(error)


def test_an_exception_that_causes_itself_ends() -> None:
    error = failing("a = ValueError(1)\nb = ValueError(2)\na.__cause__ = b\nb.__cause__ = a\nraise a")
    assert "ValueError: 1" in trimmed(error)


def test_a_long_traceback_loses_its_middle() -> None:
    error = failing("def a(n):\n  return b(n)\ndef b(n):\n  return a(n - 1) if n else 1 / 0\na(300)")
    lines = trimmed(error, limit_lines=40).splitlines()
    assert len(lines) <= 41
    assert any("lines left out" in line for line in lines)
    assert lines[-1] == "ZeroDivisionError: division by zero"
