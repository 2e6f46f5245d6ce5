from gz_cli.terminal.ink import Ink, cells, clean, first_line

PLAIN = Ink(colour=False)


def test_colours_only_where_they_are_wanted() -> None:
    spans = [("ok", "green"), (" done", "")]
    assert PLAIN.line(spans) == "ok done"
    assert Ink(colour=True).line(spans) == "\x1b[32mok\x1b[0m done"


def test_nobody_elses_text_moves_the_cursor() -> None:
    assert PLAIN.line([("a\x1b[2Jb\r\nc\x07", "")]) == "a [2Jb  c"
    assert clean("Grüße, 世界") == "Grüße, 世界"


def test_a_line_is_cut_to_the_width_of_the_terminal() -> None:
    assert PLAIN.line([("abc", ""), ("defgh", "dim")], 5) == "abcd…"
    assert PLAIN.line([("abc", ""), ("de", "dim")], 5) == "abcde"
    assert PLAIN.line([("abcde", ""), ("f", "dim")], 5) == "abcde"


def test_wide_characters_take_two_cells() -> None:
    assert cells("世界") == 4
    assert cells("e\u0301") == 1
    assert PLAIN.line([("世界世界", "")], 5) == "世界…"


def test_first_line() -> None:
    assert first_line("\n  Traceback\nmore") == "Traceback"
    assert first_line("") == ""
