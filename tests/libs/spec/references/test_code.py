"""References in Python code are values and never become source."""

import ast
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.errors import ParameterError
from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check
from gleitzeit.spec.references.code import bind, check_source, take_out

EVIL = [
    "plain",
    "'''",
    '"""',
    'it\'s "quoted"',
    "line\nbreak\r\n",
    "\\",
    "\\' + __import__('os').system('x') + \\'",
    "'''\nimport os\n'''",
    "{braces} {{double}}",
    "${a.b} {{ a.b }} $${c}",
    "__ref_0__ __ref_1__",
    "\0\x1b\u2028",
    "",
]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def run(source: str, values: dict[str, Any]) -> dict[str, Any]:
    """The program's variables after it ran; `values` maps reference text to value."""
    taken = take_out(source)
    bound = bind(taken.source, {name: values[text] for name, text in taken.bindings.items()})
    variables = dict(bound.variables)
    exec(compile(bound.tree, "<code>", "exec"), variables)
    return variables


def text_of(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@given(json_values)
def test_a_variable_is_the_given_value(value: Any) -> None:
    assert run("x = ${a.b}", {"${a.b}": value})["x"] == value
    assert type(run("x = ${a.b}", {"${a.b}": value})["x"]) is type(value)


@given(st.text() | st.sampled_from(EVIL), st.sampled_from(["'", '"', "'''", '"""', "f'", "rf'''", "r'"]))
def test_in_a_string_a_text_is_itself_whatever_the_quotes(value: str, quote: str) -> None:
    close = quote.lstrip("rf")
    assert run(f"x = {quote}<${{a.b}}>{close}", {"${a.b}": value})["x"] == f"<{value}>"


@pytest.mark.parametrize("value", EVIL)
def test_bytes_get_the_text_in_utf8(value: str) -> None:
    assert run("x = b'<${a.b}>'", {"${a.b}": value})["x"] == f"<{value}>".encode()


@pytest.mark.parametrize("value", [[1, {"a": "é"}], {"k": None}, 5, True, None])
def test_in_a_string_other_values_are_json(value: object) -> None:
    variables = run("import json\nx = json.loads('''${a.b}''')\ny = 'v: ${a.b}'", {"${a.b}": value})
    assert variables["x"] == value
    assert variables["y"] == f"v: {text_of(value)}"


def test_a_string_may_hold_several_and_an_fstring_may_read_them() -> None:
    values = {"${a.x}": "one", "${b.y}": [2]}
    source = "x = 'a ${a.x} ${b.y} ${a.x}'\ny = f'{len(${b.y})} ${a.x} {{${b.y}}}'"
    variables = run(source, values)
    assert variables["x"] == "a one [2] one"
    assert variables["y"] == "1 one {[2]}"


def test_the_same_reference_has_one_placeholder() -> None:
    taken = take_out("a = ${t.x}\nb = ${t.x} + ${t.y}")
    assert taken.bindings == {"__ref_0_t_x__": "${t.x}", "__ref_1_t_y__": "${t.y}"}
    assert taken.source == "a = __ref_0_t_x__\nb = __ref_0_t_x__ + __ref_1_t_y__"


def test_it_works_inside_functions_classes_and_comprehensions() -> None:
    function = "def f():\n  return [${a.b} for _ in range(2)]\n"
    source = function + "class C:\n  __v = ${a.b}\n  def g(self): return ${a.b}\nx = f(), C().g()"
    assert run(source, {"${a.b}": 7})["x"] == ([7, 7], 7)


def test_a_list_is_a_new_one_wherever_and_whenever_it_is_read() -> None:
    source = """
first = ${a}
second = ${a}
first.append(9)
first[1]["x"].append(9)
kept = []
for i in range(2):
    one = ${a}
    one.append(i)
    kept.append(one)
def default(values=${b}):
    return values
f = f"{${a}}"
"""
    value = [1, {"x": []}]
    variables = run(source, {"${a}": value, "${b}": {"k": 1}})
    assert variables["second"] == value == [1, {"x": []}]
    assert variables["first"] == [1, {"x": [9]}, 9]
    assert variables["kept"] == [[*value, 0], [*value, 1]]
    assert variables["default"]() == {"k": 1}
    assert variables["f"] == str(value)


def test_a_subscript_call_argument_and_default_are_values() -> None:
    assert run("def f(x=${a.n}): return x\ny = f() + f(x=${a.n}) + [1, 2, 3][${a.n}]", {"${a.n}": 1})["y"] == 4


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("x${a.b} = 1", 1, "assigned"),
        ("y = x${a.b}", 1, "glued to a name"),
        ("\n${a.b} = 1", 2, "assigned to or deleted"),
        ("del ${a.b}", 1, "assigned to or deleted"),
        ("for ${a.b} in x:\n  pass", 1, "assigned to or deleted"),
        ("(${a.b} := 1)", 1, "assigned to or deleted"),
        ("with x as ${a.b}:\n  pass", 1, "assigned to or deleted"),
        ("x.${a.b}", 1, "name of an attribute"),
        ("import ${a.b}", 1, "name of an import"),
        ("import x as ${a.b}", 1, "name of an import"),
        ("from ${a.b} import x", 1, "name of an import"),
        ("from x import ${a.b}", 1, "name of an import"),
        ("f(${a.b}=1)", 1, "name of a parameter"),
        ("def f(${a.b}):\n  pass", 1, "name of a parameter"),
        ("lambda ${a.b}: 1", 1, "name of a parameter"),
        ("def ${a.b}():\n  pass", 1, "name of a definition"),
        ("async def ${a.b}():\n  pass", 1, "name of a definition"),
        ("class ${a.b}:\n  pass", 1, "name of a definition"),
        ("def f():\n  global ${a.b}", 2, "cannot stand here"),
        ("try:\n  pass\nexcept E as ${a.b}:\n  pass", 3, "cannot stand here"),
        ("match x:\n  case ${a.b}:\n    pass", 2, "cannot stand here"),
        ("match x:\n  case {**${a.b}}:\n    pass", 2, "cannot stand here"),
        ("match x:\n  case C(${a.b}=1):\n    pass", 2, "cannot stand here"),
        ("1${a.b}", 1, "Python cannot read this"),
        ("${a.b} ${a.b}", 1, "Python cannot read this"),
    ],
)
def test_where_no_value_can_stand_it_is_refused(source: str, line: int, message: str) -> None:
    taken = take_out(source)
    [problem] = check_source(taken.source, taken.bindings)
    assert message in problem.message
    assert problem.line == line
    with pytest.raises((ParameterError, SyntaxError)):
        bind(taken.source, dict.fromkeys(taken.bindings, 1))


def test_refusal_lists_every_place() -> None:
    taken = take_out("x.${a.b}\ny.${a.c}")
    with pytest.raises(ParameterError, match=r"line 1: .*; line 2: "):
        bind(taken.source, dict.fromkeys(taken.bindings, 1))


@given(st.sampled_from(EVIL) | st.text())
def test_no_value_changes_the_shape_of_the_program(value: str) -> None:
    taken = take_out("x = '''${a.b}''' + ${a.b}\ny = f'${a.b} {x}'")
    tree = bind(taken.source, dict.fromkeys(taken.bindings, value)).tree
    shape = [type(node) for node in ast.walk(tree)]
    assert shape == [type(node) for node in ast.walk(ast.parse(taken.source))]


def test_a_reference_in_a_comment_is_only_text() -> None:
    taken = take_out("# see ${nobody.x}\nx = ${a.b}  # not ${c.d}")
    assert list(taken.bindings.values()) == ["${a.b}"]
    assert "# see ${nobody.x}" in taken.source


def test_what_is_not_meant_stays() -> None:
    taken = take_out("x = f'{{user.name}} ${a.b}'", is_reference=lambda reference: not reference.mustache)
    assert list(taken.bindings.values()) == ["${a.b}"]
    assert "{{user.name}}" in taken.source


def test_escapes_become_plain() -> None:
    assert take_out("x = '$${HOME}'") == ("x = '${HOME}'", {})
    assert take_out("x = 1") == ("x = 1", {})


def test_a_source_that_has_our_names_gets_others() -> None:
    taken = take_out("__ref_0__ = 1\nx = ${a.b}")
    [name] = taken.bindings
    assert not name.startswith("__ref_0_")
    assert run("__ref_0__ = 1\nx = ${a.b}", {"${a.b}": 2})["x"] == 2


def test_numbering_may_begin_elsewhere() -> None:
    assert take_out("${a.b}", first=5).bindings == {"__ref_5_a_b__": "${a.b}"}


def test_an_expression_is_bound_too() -> None:
    taken = take_out("  ${a.b} + 1")
    bound = bind(taken.source, dict.fromkeys(taken.bindings, 2), "eval")
    assert eval(compile(bound.tree, "<code>", "eval"), dict(bound.variables)) == 3


@pytest.mark.parametrize("source", ["x = (", "(" * 1000, "-" * 100_000, "\0", "x = '", "  x\ny", "a.b" * 50_000 + ")"])
def test_what_python_cannot_read_is_a_problem_and_no_crash(source: str) -> None:
    [problem] = check_source(source)
    assert problem.message.startswith("Python cannot read this: ")
    assert problem.message != "Python cannot read this: "
    with pytest.raises(SyntaxError):
        bind(source, {})


@pytest.mark.parametrize(
    ("source", "line", "offset", "message"),
    [
        ("x = 1\nyield x", 2, 0, "'yield' outside function"),
        ("if x:\n  y = (yield)", 2, 5, "'yield' outside function"),
        ("return 1\nbreak", 2, 0, "'break' outside loop"),
        ("def f():\n  await g()", 2, 0, "'await' outside async function"),
        ("nonlocal x", 1, 0, "nonlocal declaration not allowed at module level"),
    ],
)
def test_what_python_finds_only_when_it_compiles(source: str, line: int, offset: int, message: str) -> None:
    [problem] = check_source(source)
    assert problem == (line, f"Python cannot read this: {message}", offset)
    [problem] = check_source("#" * 10_000 + "\n" + source)
    assert (problem.line, problem.offset) == (line + 1, offset)


def test_what_stands_at_the_top_of_a_script_and_of_nothing_else() -> None:
    assert check_source("x = await f()\nasync with x: pass\nif x:\n  return x\nresult = [await y for y in x]") == []


def test_where_in_its_line_python_stopped_is_known_up_to_the_first_placeholder() -> None:
    assert [one.offset for one in check_source("if True:\n    def f(:\n        pass")] == [6]
    assert [one.offset for one in check_source("x = ) __ref_0__", ["__ref_0__"])] == [4]
    assert [one.offset for one in check_source("x = __ref_0__ )", ["__ref_0__"])] == [0]


@pytest.mark.parametrize("source", ["  x = 1\n  y = 2", "\n\n    x = 1\r\n\n    if x:\r\n        y = 2\n  ", "\tx = 1"])
def test_a_source_that_is_indented_as_a_whole_is_read(source: str) -> None:
    assert check_source(source) == []


def test_a_strange_escape_in_the_source_is_not_our_business() -> None:
    assert check_source("x = '\\d'") == []


def test_a_return_at_the_top_is_for_the_provider_to_allow() -> None:
    assert check_source("return {'a': 1}") == []


def test_a_placeholder_tells_what_it_stands_for() -> None:
    taken = take_out("a = ${Load Data.result[0]}\nb = ${size(x.y) * 2 > 3}\nc = ${é}\nd = ${" + "a.b" * 40 + "}")
    first, second, third, fourth = taken.bindings
    assert (first, second, third) == ("__ref_0_Load_Data_result_0__", "__ref_1_size_x_y_2_3__", "__ref_2__")
    assert all(name.isidentifier() and len(name) < 60 for name in (first, second, third, fourth))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("  [1,\n 2]  ", ""),
        ("\n${a.response} + 1\n", ""),
        ("x = 1", "invalid syntax"),
        ("return ${a.response}", "invalid syntax"),
        ("1 +", "invalid syntax"),
        ("${a.response}.${a.echoed}", "cannot be the name of an attribute"),
    ],
)
def test_what_is_to_be_evaluated_is_one_expression(expression: str, message: str) -> None:
    tasks = [
        {"id": "a", "method": "echo/echo"},
        {"id": "b", "method": "python/eval", "params": {"expression": expression}},
    ]
    found = check({"name": "n", "tasks": tasks}, builtin())
    assert (found.definition is None) == bool(message)
    assert all(message in problem.message for problem in found.problems)
