"""What a client of wss:// trusts, where that is not what its system trusts; and what a server shows."""

import ssl
from pathlib import Path

from gleitzeit.errors import ConfigurationError

_END = "-----END CERTIFICATE-----"


def trust(authorities: Path) -> ssl.SSLContext:
    """For servers whose certificate is in this PEM file or signed by one in it, and has the name of the server.

    Raises ConfigurationError for a file that cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:  # SSLError is one
        raise ConfigurationError(f"the certificates in {authorities} cannot be used: {_said(error)}") from error


def pin(certificate: Path) -> ssl.SSLContext:
    """For the one server that shows the first certificate of this file, whatever names stand in it.

    Of a server on this machine: its certificate has the names by which others know it. Raises ConfigurationError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trust it though its authority is nobody we know
    try:
        first, found, _ = certificate.read_text(errors="replace").partition(_END)
        context.load_verify_locations(cadata=first + found)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the certificate {certificate} cannot be used: {_said(error)}") from error
    return context


def identity(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """For a server: the certificate chain that it shows (PEM), with its key if that is in another file. None: no TLS.

    Raises ConfigurationError for files that cannot be used.
    """
    if certificate is None:
        if key is not None:
            raise ConfigurationError("--tls-key is nothing without --tls-cert")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # SSLError is one
        files = " and ".join(str(file) for file in (certificate, key) if file is not None)
        raise ConfigurationError(f"no certificate with its key in {files}: {error}") from error
    return context


def _said(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).strip()
