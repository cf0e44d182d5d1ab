"""The server's certificate, for both doors; a renewed file is taken without a restart."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any

import grpc

from engine.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = logging.getLogger("nucleus.tls")


class Certificate:
    """A certificate and its key, in files that may be replaced while the server runs.

    Args:
        certificate: PEM file of the certificate, followed by those that lead to its root.
        key: PEM file of the private key, without a password.
        client_ca: PEM file of the authorities that sign certificates of clients of gRPC; None asks for none.

    Raises:
        CertificateError: a file cannot be read, or the key does not belong to the certificate.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self.context = self._new_context()
        """For the HTTP door; :meth:`refresh` changes what new connections get of it."""
        self._read_at = self._times()

    @property
    def asks_clients(self) -> bool:
        """Whether clients of gRPC must show certificates, too."""
        return self._client_ca is not None

    def refresh(self) -> None:
        """Take the files anew if they have changed; if they cannot be used, log why and keep the old ones."""
        times = self._times()
        if times == self._read_at:
            return
        self._read_at = times
        try:
            self._new_context()  # into a new one first: a failure must not leave half a change
            self.context.load_cert_chain(self._certificate, self._key)
        except (CertificateError, OSError) as error:
            log.error("the renewed certificate is not used: %s", error)
        else:
            log.info("took the renewed certificate from %s", self._certificate)

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return the same for the gRPC door, which asks for the files at each handshake."""
        configuration = self._grpc_configuration()
        read_at = self._times()

        def fetch() -> Any:
            nonlocal read_at
            if (times := self._times()) == read_at:
                return None  # which is as before, for gRPC
            read_at = times
            try:
                self._new_context()
                return self._grpc_configuration()
            except (CertificateError, OSError):
                return None  # refresh logs the reason

        credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
            configuration, fetch, require_client_authentication=self.asks_clients
        )
        return credentials

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
            if self._client_ca is not None:
                ssl.create_default_context(cafile=str(self._client_ca))
        except (OSError, ValueError) as error:  # of which ssl.SSLError is one
            files = " and ".join(map(str, self._files()))
            raise CertificateError(f"The certificate cannot be used: {error} (in {files}).") from None
        return context

    def _grpc_configuration(self) -> grpc.ServerCertificateConfiguration:
        authorities = None if self._client_ca is None else self._client_ca.read_bytes()
        pair = (self._key.read_bytes(), self._certificate.read_bytes())
        configuration: grpc.ServerCertificateConfiguration = grpc.ssl_server_certificate_configuration(
            [pair], authorities
        )
        return configuration

    def _files(self) -> Iterable[Path]:
        return [file for file in (self._certificate, self._key, self._client_ca) if file is not None]

    def _times(self) -> tuple[int, ...]:
        """Return when the files were last changed; 0 for one that is missing while it is replaced."""
        times = []
        for file in self._files():
            try:
                times.append(file.stat().st_mtime_ns)
            except OSError:
                times.append(0)
        return tuple(times)


def _no_password() -> str:
    raise ValueError("the key has a password")
