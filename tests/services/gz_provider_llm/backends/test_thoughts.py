"""What is thought and what is said in one text, however it is cut into pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gz_provider_llm.backends.ollama_wire import Answer as OllamaAnswer
from gz_provider_llm.backends.openai_answer import Answer
from gz_provider_llm.backends.thoughts import Thoughts, ended

TEXTS = [
    ("<think>\nhm, <b>1 < 2</b>\n</think>\n\nyes", "yes", "hm, <b>1 < 2</b>"),
    ("  <think>a</think>b</think>", "b</think>", "a"),
    ("<think></think>\n\nb", "b", ""),
    ("use <think> and </think>", "use <think> and </think>", ""),
    ("  \n indented", "  \n indented", ""),
    ("<thin ice", "<thin ice", ""),
    ("<thi", "<thi", ""),
    ("<think>never </thi", "", "never </thi"),
    ("", "", ""),
]


def parted(pieces: list[str]) -> tuple[str, str]:
    thoughts = Thoughts()
    fed = [thoughts.feed(piece) for piece in pieces]
    rest = thoughts.end()
    said, thought = "".join(one for one, _ in fed), "".join(one for _, one in fed)
    return (said, thought + rest) if thoughts.open else (said + rest, thought)


@pytest.mark.parametrize(("text", "said", "thought"), TEXTS)
def test_whole_and_letter_by_letter(text: str, said: str, thought: str) -> None:
    assert parted([text]) == parted([*text]) == (said, thought)


@given(
    text=st.lists(st.sampled_from(["<think>", "</think>", "</th", "<", " ", "\n", "a"])).map("".join), data=st.data()
)
def test_how_it_is_cut_makes_no_difference(text: str, data: st.DataObject) -> None:
    at = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[start:end] for start, end in zip([0, *at], [*at, len(text)], strict=True)]
    assert parted(pieces) == parted([text])


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("hm, well\n</think>\n\n42", ("42", "hm, well")),
        ("hm</think>42", ("42", "hm")),
        ("the tag `</think>` ends it", ("the tag `</think>` ends it", "")),
        ("<b> <think>a</think> b", ("<b> <think>a</think> b", "")),
        ("a</think>b</think>c", ("a</think>b</think>c", "")),
        ("42", ("42", "")),
    ],
)
def test_thoughts_of_which_only_the_end_is_in_the_text(said: str, parts: tuple[str, str]) -> None:
    assert ended(said) == parts
    openai, ollama = Answer("m"), OllamaAnswer()
    openai.add({"choices": [{"message": {"content": said}}]})
    ollama.add({"message": {"content": said}, "done": True})
    for result in (openai.result(), ollama.result("m", "")):
        assert (result.content, result.reasoning) == parts
    raw = Answer("m", raw=True)
    raw.add({"choices": [{"text": said}]})
    assert raw.result().content == said


def test_the_answers_of_servers_are_parted() -> None:
    text = "<think>hm</think>\nyes"
    of_openai, raw = Answer("m"), Answer("m", raw=True)
    for answer in (of_openai, raw):
        answer.add({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})
    assert (of_openai.result().content, of_openai.result().reasoning) == ("yes", "hm")
    assert (raw.result().content, raw.result().reasoning) == (text, "")
    of_ollama = OllamaAnswer()
    said = [of_ollama.add({"message": {"content": piece}}) for piece in ("<thi", "nk>h", "m</think>\n", "yes")]
    said.append(of_ollama.add({"done": True}))
    assert "".join(said) == of_ollama.result("m", "p").content == "yes"
    assert of_ollama.result("m", "p").reasoning == "hm"
