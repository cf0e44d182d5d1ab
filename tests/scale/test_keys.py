"""Keys and certificates between SMG and its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from benchmarks.client import CallError, HttpClient
from benchmarks.servers import HOST
from tests.kinds.files import GENERATING
from tests.scale.workers import IS_MISSING, REASON, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scale.conftest import Opening

pytestmark = pytest.mark.skipif(IS_MISSING, reason=REASON)

KEY = "sk-between"
ASK = {"model": "tiny", "prompt": "abc", "max_tokens": 2, "seed": 1}


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secured(tmp_path: Path, authority: trustme.CA) -> Iterator[Worker]:
    """A worker that asks for a key, over TLS."""
    issued = authority.issue_cert(HOST)
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    for number, certificate in enumerate(issued.cert_chain_pems):
        certificate.write_to_path(str(tmp_path / "cert.pem"), append=number > 0)
    (tmp_path / "keys").write_text(f"{KEY}\n")
    (tmp_path / "keys").chmod(0o600)
    worker = Worker(
        *(
            GENERATING["spm"].write(tmp_path / "tiny.gguf"),
            "--alias",
            "tiny",
            "--api-key-file",
            tmp_path / "keys",
        ),
        *("--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem"),
        log=tmp_path / "worker.log",
        environment={"XDG_CACHE_HOME": str(tmp_path)},
        scheme="https",
    )
    try:
        yield worker.start()
    finally:
        worker.close()


async def ask(port: int, key: str) -> list[str]:
    client = HttpClient(HOST, port, key=key)
    (answer,) = [client.read(event) async for event in client.events(ASK)]
    return [choice["finish_reason"] for choice in answer["choices"]]


async def test_a_key_and_a_certificate_hold_behind_the_gateway(
    secured: Worker, authority: trustme.CA, tmp_path: Path, open_gateway: Opening
) -> None:
    """The gateway asks its clients for the key that its workers ask it for, and passes theirs on."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with open_gateway([secured], "--ca-cert-paths", tmp_path / "ca.pem", key=KEY) as gateway:
        assert await ask(gateway.port, KEY) == ["length"]
        with pytest.raises(CallError):
            await ask(gateway.port, "sk-other")
        gateway.wait_until(lambda: secured.url in gateway.loads())
