from pathlib import Path
from typing import Any

import pytest

from gleitzeit.errors import ConfigurationError
from gz_coordinator.options import allowed_environ, options, tls, token


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
