"""Where Ollama is said to be."""

import pytest

from gleitzeit.config.ollama import full_name, ports_of, url_of, urls_from
from gleitzeit.errors import ConfigurationError


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        (":8000", "http://127.0.0.1:8000"),
        ("box", "http://box:11434"),
        ("box:1", "http://box:1"),
        (" 'box:1' ", "http://box:1"),
        ("http://box", "http://box:80"),
        ("https://box/llm/", "https://box:443/llm"),
        ("ollama.com", "https://ollama.com:443"),
        ("[::1]:5", "http://[::1]:5"),
        ("https://me:secret@box", "https://me:secret@box:443"),
        ("0.0.0.0:99", "http://127.0.0.1:99"),
        ("https://box/ollama/", "https://box:443/ollama"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    assert url_of(host) == url


def test_the_environment() -> None:
    assert urls_from({}) == ["http://127.0.0.1:11434"]
    assert urls_from({"OLLAMA_HOST": "0.0.0.0:1"}) == ["http://127.0.0.1:1"]
    several = {"OLLAMA_HOST": "x", "GLEITZEIT_OLLAMA_URL": "a:1, b:2"}
    assert urls_from(several) == ["http://a:1", "http://b:2"]
    assert urls_from({**several, "GLEITZEIT_OLLAMA_DISCOVER": "5-6"}) == ["http://127.0.0.1:5", "http://127.0.0.1:6"]


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="port"):
        url_of("box:99999")
    with pytest.raises(ConfigurationError, match="cannot be understood"):
        url_of("http://[")
    for text in ("", "1-", "a-b", "9-8", "0-3", "1-200", "65535-65536"):
        with pytest.raises(ConfigurationError, match="range"):
            ports_of(text)


def test_ports() -> None:
    assert ports_of("11434") == [11434]
    assert ports_of("11434-11436") == [11434, 11435, 11436]


def test_names() -> None:
    assert full_name("llama3.2") == "llama3.2:latest"
    assert full_name("llama3.2:1b") == "llama3.2:1b"
    assert full_name("host:5000/me/llama3.2") == "host:5000/me/llama3.2:latest"
