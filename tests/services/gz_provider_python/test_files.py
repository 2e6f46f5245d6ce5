"""Where scripts are looked for."""

from pathlib import Path

import pytest

from gz_provider_python.files import ScriptNotFound, find_file


def test_the_first_folder_that_has_it(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    (second / "s.py").write_text("1")
    assert find_file("s.py", [first, second]) == second / "s.py"
    (first / "s.py").write_text("2")
    assert find_file("s.py", [first, second]) == first / "s.py"


def test_an_absolute_path_is_not_searched(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("1")
    assert find_file(str(script), []) == script


def test_every_place_is_named_where_it_is_not(tmp_path: Path) -> None:
    with pytest.raises(ScriptNotFound) as caught:
        find_file("nowhere.py", [tmp_path, tmp_path / "examples", tmp_path])
    assert str(caught.value) == (
        f"there is no script nowhere.py; looked at\n  {tmp_path}/nowhere.py\n  {tmp_path}/examples/nowhere.py"
    )


def test_a_folder_is_no_script(tmp_path: Path) -> None:
    with pytest.raises(ScriptNotFound):
        find_file(str(tmp_path), [])
