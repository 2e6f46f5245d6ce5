"""Top-level return and imports, by syntax tree."""

import ast
from typing import Any

import pytest

from gleitzeit.spec.references.script import RETURN, TopLevelReturn, compile_imports, compile_script


def run(source: str) -> tuple[Any, dict[str, Any]]:
    """What the script returns at its top level ("nothing" if it comes to its end), and its globals."""
    names: dict[str, Any] = {RETURN: TopLevelReturn}
    try:
        exec(compile_script(ast.parse(source), "<test>"), names)
    except TopLevelReturn as end:
        return end.value, names
    return "nothing", names


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("return {'a': 1}", {"a": 1}),
        ("return", None),
        ("x = 1", "nothing"),
        ("for i in range(9):\n  if i == 3:\n    return i", 3),
        ("while True:\n  with open('/dev/null'):\n    return 'w'", "w"),
        ("try:\n  return 1\nexcept Exception:\n  return 2", 1),
        ("try:\n  return 1\nexcept:\n  return 2", 1),
        ("try:\n  return 1\nexcept BaseException:\n  pass", 1),
        ("try:\n  1/0\nexcept ZeroDivisionError:\n  return 2", 2),
        ("try:\n  pass\nfinally:\n  return 3", 3),
        ("try:\n  try:\n    return 1\n  except KeyError:\n    pass\nexcept:\n  return 2", 1),
        ("match 1:\n  case 1:\n    return 'm'", "m"),
        ("def f():\n  return 4\nclass C:\n  def g(self):\n    return 5\nreturn f() + C().g()", 9),
    ],
)
def test_return_ends_the_script(source: str, value: object) -> None:
    assert run(source)[0] == value


def test_code_runs_at_module_level() -> None:
    _, names = run("seen = 'seen' in locals() or locals() is globals()\ndef f():\n  global g\n  g = 1\nf()")
    assert names["seen"] is True
    assert names["g"] == 1


def test_finally_blocks_run_when_a_script_returns() -> None:
    value, names = run("try:\n  return 1\nfinally:\n  done = True")
    assert (value, names["done"]) == (1, True)


def test_lines_of_a_traceback_are_those_of_the_source() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run("if True:\n  x = 1\n  return 1 / 0")
    assert caught.tb.tb_next.tb_next.tb_lineno == 3  # type: ignore[union-attr]  # two frames down, it was raised there


def test_a_future_import_of_ours_does_not_leak_into_the_script() -> None:
    _, names = run("def f(x: int): pass\nhint = f.__annotations__['x']")
    assert names["hint"] is int


def test_imports_by_name_alias_and_statement() -> None:
    names: dict[str, Any] = {}
    exec(compile_imports(["math", "json as j", "from os import path"], "<imports>"), names)
    assert names["math"].pi > 3
    assert names["j"].dumps(1) == "1"
    assert names["path"].sep == "/"


@pytest.mark.parametrize("name", ["math; print(1)", "1", "import math\nprint(1)"])
def test_an_import_is_nothing_but_an_import(name: str) -> None:
    with pytest.raises(SyntaxError):
        compile_imports([name], "<imports>")
