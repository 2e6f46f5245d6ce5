"""Functions by name, from records and from a folder."""

import base64
import math
import operator
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gz_provider_python.functions import FunctionError, Record, check_record, find, known, load, save


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A functions directory; what is imported from it is forgotten afterwards."""
    (tmp_path / "tools.py").write_text(
        'def clean(text, *, upper=False):\n    "Trim it.\\n\\nMore."\n    return text.strip()\n\nLIMIT = 3\n'
    )
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/inner.py").write_text("def twice(x):\n    return 2 * x\ndef _hidden(): pass\n")
    (tmp_path / "broken.py").write_text("def (")
    modules, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_a_function_of_the_folder(folder: Path) -> None:
    assert find(folder, "tools.clean")(" a ") == "a"
    assert find(folder, "pack.inner.twice")(4) == 8


def test_a_function_of_the_library(folder: Path) -> None:
    assert find(folder, "math.sqrt") is math.sqrt
    assert find(folder, "len") is len
    assert find(folder, "datetime.datetime.fromisoformat")("2026-11-20").year == 2026


def test_a_module_of_the_folder_comes_before_one_of_the_library(folder: Path) -> None:
    import colorsys  # loaded before, as the zygote has loaded many

    (folder / "colorsys.py").write_text("def mine(): return 'mine'")
    assert find(folder, "colorsys.mine")() == "mine"
    sys.modules["colorsys"] = colorsys


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("tools.cleen", "there is no function tools.cleen; did you mean tools.clean?"),
        ("os.pth.join", "there is no function os.pth.join; did you mean os.path.join?"),
        ("str.uper", "there is no function str.uper; did you mean str.upper?"),
        ("lenn", "there is no function lenn; did you mean len?"),
        ("jsn.dumps", "there is no function jsn.dumps: there is no module jsn; did you mean json?"),
        ("tools.LIMIT", "tools.LIMIT is a int, not a function"),
        ("../etc.passwd", "there is no function"),
    ],
)
def test_what_is_no_function_is_said(folder: Path, name: str, complaint: str) -> None:
    with pytest.raises(FunctionError) as caught:
        find(folder, name)
    assert complaint in str(caught.value)


def test_what_is_like_nothing_is_given_no_other_name(folder: Path) -> None:
    with pytest.raises(FunctionError, match=r"^there is no function nope\.x: there is no module nope$"):
        find(folder, "nope.x")


def test_a_module_that_misses_another_is_not_taken_for_missing(folder: Path) -> None:
    (folder / "needy.py").write_text("import not_installed_anywhere")
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        find(folder, "needy.fn")


def test_records_are_kept_and_replaced(folder: Path) -> None:
    save(folder, Record("double", "lambda", expression="lambda x: 2 * x"))
    save(folder, Record("double", "lambda", expression="lambda x: x + x"))
    assert load(folder, "double") == Record("double", "lambda", expression="lambda x: x + x")
    assert load(folder, "other") is None
    assert [path.name for path in (folder / ".registered").iterdir()] == ["double.json"]


def test_registered_functions_are_found(folder: Path) -> None:
    save(folder, Record("double", "lambda", expression="lambda x: 2 * x"))
    save(folder, Record("my.root", "module", module="math", function="sqrt"))
    save(folder, Record("plus", "serialized", function=base64.b64encode(pickle.dumps(operator.add)).decode()))
    assert find(folder, "double")(4) == 8
    assert find(folder, "my.root") is math.sqrt
    assert find(folder, "plus")(1, 2) == 3


def test_a_registered_name_comes_first(folder: Path) -> None:
    save(folder, Record("tools.clean", "lambda", expression="lambda text: 'registered'"))
    assert find(folder, "tools.clean")("") == "registered"


def test_a_damaged_record_is_named(folder: Path) -> None:
    save(folder, Record("double", "lambda", expression="lambda x: x"))
    (folder / ".registered/double.json").write_text("{")
    with pytest.raises(FunctionError, match="double is damaged"):
        find(folder, "double")


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (Record("../x", "lambda", expression="lambda: 1"), "not a name"),
        (Record("x", "lambda", expression="1 + 1"), "must be one lambda"),
        (Record("x", "lambda", expression="lambda: ("), "not Python"),
        (Record("x", "module", module="math"), "needs `module` and `function`"),
        (Record("x", "serialized", function="%%"), "pickle in base64"),
    ],
)
def test_what_cannot_be_registered(record: Record, complaint: str) -> None:
    with pytest.raises(FunctionError, match=complaint):
        check_record(record)


def test_the_list_runs_no_code(folder: Path) -> None:
    (folder / "danger.py").write_text("raise SystemExit\ndef fn(a, b=1): pass")
    save(folder, Record("double", "lambda", expression="lambda x, y=2: x * y"))
    assert known(folder) == [
        {"name": "danger.fn", "type": "file", "signature": "(a, b=1)"},
        {"name": "double", "type": "lambda", "signature": "(x, y=2)"},
        {"name": "pack.inner.twice", "type": "file", "signature": "(x)"},
        {"name": "tools.clean", "type": "file", "signature": "(text, *, upper=False)", "description": "Trim it."},
    ]


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert known(tmp_path / "none") == []
