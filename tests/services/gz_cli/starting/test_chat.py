"""What an answer looks like while it grows, and what a turn submits."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gleitzeit.client import Client, StreamItem, WatchEvent
from gleitzeit.client.sync import Background
from gleitzeit.model.events import Failure, TaskFellBack
from gz_cli.starting.chat import Answer, Conversation, converse, document, prepared, text_of


def delta(text: str, offset: int = 0, attempt: int = 1, *, gap: bool = False) -> StreamItem:
    return StreamItem("w", "answer", attempt, text, offset=offset, gap=gap)


def test_on_a_terminal_it_grows(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(live=True)
    answer.show(delta("Hel"))
    assert capsys.readouterr().out == "Hel"
    answer.show(delta("lo", 3))
    answer.end("Hello!")
    assert capsys.readouterr().out == "lo!\n"


def test_elsewhere_it_comes_whole(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(live=False)
    answer.show(delta("Hel"))
    answer.end("Hello")
    assert capsys.readouterr().out == "Hello\n"


def test_a_new_attempt_voids_what_stands_there(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(live=True)
    answer.show(delta("Hal"))
    answer.show(WatchEvent("w", 3, TaskFellBack(1, "answer", 1, Failure(-1, "no model"), 1)))
    answer.show(delta("Hello", attempt=2))
    answer.end("Hello")
    told = capsys.readouterr()
    assert told.out == "Hal\nHello\n"
    assert "(no model; trying again)" in told.err


def test_after_a_gap_the_whole_follows(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(live=True)
    answer.show(delta("", 3, gap=True))
    answer.show(delta("lo", 3))
    answer.end("Hello")
    assert capsys.readouterr().out == "lo\nHello\n"


def test_no_word_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(live=True)
    answer.show(delta("a\x1b[2Jb\nc"))
    assert capsys.readouterr().out == "a [2Jb\nc"


def test_a_turn_is_a_document_in_which_nobody_s_words_stand() -> None:
    params = {"model": "m", "temperature": 0}
    (task,) = document(params)["tasks"]
    assert task["params"] == {
        "messages": "${inputs.messages}", "model": "${inputs.model}", "temperature": "${inputs.temperature}"
    }  # fmt: skip
    assert prepared(params).checked is not None


def test_the_text_of_a_result() -> None:
    assert text_of({"response": "a", "content": "b"}) == "a"
    assert text_of({"content": "b"}) == "b"
    assert text_of("c") == "c"


@pytest.mark.parametrize("word", ["/bye", "/exit", " /quit "])
def test_words_that_end_a_conversation_are_not_asked(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"\n{word}\nWho is there?\n"))
    with Background() as background:
        assert converse(background, Conversation(Client("ws://127.0.0.1:1"), {}, None)) == 0
    assert capsys.readouterr() == ("", "")


def test_a_param_that_there_is_none_of(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "gz_cli", "chat", "Why?", "-p", "max_token=6"],
        env={**os.environ, "GLEITZEIT_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 2
    assert "did you mean 'max_tokens'?" in ended.stderr
    assert not (tmp_path / "stack.lock").exists()
