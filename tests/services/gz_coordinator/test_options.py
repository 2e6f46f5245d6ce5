from pathlib import Path
from typing import Any

import pytest

from gleitzeit.errors import ConfigurationError
from gz_coordinator.options import address, allowed_environ, options, tls, token


def test_documents_read_nothing_but_what_is_allowed_and_set() -> None:
    environ = {"LANG": "C", "TZ": "UTC", "SECRET": "x"}
    assert allowed_environ(options([]), environ) == {}
    assert allowed_environ(options(["--allow-env", "LANG, TZ,,NOT_SET"]), environ) == {"LANG": "C", "TZ": "UTC"}


def test_a_token_file_without_a_token_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    assert token(options([])) is None
    file.write_text("\n")
    with pytest.raises(ConfigurationError, match=str(file)):
        token(options(["--token-file", str(file)]))
    file.write_text("secret\n")
    assert token(options(["--token-file", str(file)])) == "secret"


def test_a_certificate_needs_its_key(certificate: Any, tmp_path: Path) -> None:
    assert tls(options([])) is None
    assert tls(options(["--tls-cert", str(certificate.file), "--tls-key", str(certificate.key)])) is not None
    both = tmp_path / "both.pem"
    both.write_text(certificate.key.read_text() + certificate.file.read_text())
    assert tls(options(["--tls-cert", str(both)])) is not None
    for wrong in ([str(certificate.file)], [str(tmp_path / "none.pem")]):
        with pytest.raises(ConfigurationError, match="no certificate with its key in"):
            tls(options(["--tls-cert", *wrong]))
    with pytest.raises(ConfigurationError, match="without --tls-cert"):
        tls(options(["--tls-key", str(certificate.key)]))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--listen", "here"], "argument --listen: 'here' is not HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "'127.0.0.1:99999' is not HOST:PORT"),
        (["--lease-seconds", "-1"], "argument --lease-seconds: '-1' is no number of seconds"),
        (["--lease-seconds", "0"], "argument --lease-seconds: expected more than 0 seconds"),
        (["--shard-lease-seconds", "nan"], "'nan' is no number of seconds"),
        (["--drain-seconds", "inf"], "'inf' is no number of seconds"),
        (["--drain-seconds", "soon"], "'soon' is no number of seconds"),
        (["--strategy", "best_fitt"], "did you mean best_fit?"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_opened(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        options(words)
    assert end.value.code == 2
    assert told in capsys.readouterr().err


def test_durations_and_places_are_read() -> None:
    chosen = options(["--drain-seconds", "0", "--lease-seconds", "0.5", "--listen", "[::1]:0"])
    assert (chosen.drain_seconds, chosen.lease_seconds, address(chosen.listen)) == (0, 0.5, ("::1", 0))
