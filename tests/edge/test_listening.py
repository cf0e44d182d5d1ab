"""Where ``nucleus serve`` listens, and whom it lets in: the real server, in a process of its own."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import ssl
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import httpx2
import pytest
import trustme
import typer

from engine.commands.options import SettingsOptions, takes
from engine.errors import EngineError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving.server import run
from engine.settings import ServeSettings
from tests.process import NUCLEUS, PATIENCE, nucleus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process import Serving


@contextmanager
def serving(*flags: object, **environment: str) -> Iterator[Serving]:
    """Start a server, and end it well."""
    with nucleus(*flags, environment=environment) as started:
        yield started
        started.signal()
        started.end()


def refusal(*flags: object) -> str:
    """Return why the server refuses to start."""
    command = typer.Typer()

    @command.command()
    @takes(settings=SettingsOptions(ServeSettings, argument="model"))
    def serve(settings: ServeSettings) -> None:
        run(settings, say=print)

    with pytest.raises(EngineError) as refused:
        command(["no-such-model.gguf", *map(str, flags)], standalone_mode=False)
    return str(refused.value)


def models_by_grpc(channel: grpc.Channel) -> list[str]:
    answer = pb_grpc.CompletionServiceStub(channel).ListModels(pb.ListModelsRequest(), timeout=PATIENCE)
    return [model.id for model in answer.models]


def test_unix_sockets_of_both_doors_are_for_their_owner(tmp_path: Path) -> None:
    http, rpc = tmp_path / "[red]http.sock", tmp_path / "grpc.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(http))  # a server that was killed has left its socket
    with serving("--http-port", f"unix:{http}", "--grpc-port", f"unix:{rpc}") as server:
        assert (server.address("HTTP"), server.address("gRPC")) == (f"unix:{http}", f"unix:{rpc}")
        assert [stat.S_IMODE(path.stat().st_mode) for path in (http, rpc)] == [0o600, 0o600]
        with httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(http)), base_url="http://localhost"
        ) as client:
            assert client.get("/v1/models").status_code == 200
            at = {"port": None, "path": str(rpc), "tls": False, "client_certificate": False}
            assert client.get("/version").json()["grpc"] == at
        with grpc.insecure_channel(f"unix:{rpc}") as channel:
            assert models_by_grpc(channel) == ["smollm2-135m-instruct"]
        assert "already in use" in refusal("--http-port", f"unix:{http}")
        curl = next(line for line in server.lines if line.startswith("curl"))
        assert f"--unix-socket {shlex.quote(str(http))} http://localhost/v1/completions" in curl
    assert not http.exists()
    assert not rpc.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("text")
    for flag in ("--http-port", "--grpc-port"):
        assert "already in use" in refusal(flag, f"unix:{precious}")
    assert precious.read_text() == "text"
    assert "--http-port" in refusal("--http-port", f"unix:{tmp_path}/{'long' * 40}")


def test_tls_for_both_doors_and_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    authority, renewing, clients = trustme.CA(), trustme.CA(), trustme.CA()
    cert, key, client_ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "clients.pem"
    issue(authority, cert, key)
    clients.cert_pem.write_to_path(client_ca)
    flags = ("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", client_ca)
    with serving(*flags, NUCLEUS_API_KEY="sk-1") as server:
        url, target = server.address("HTTP"), server.address("gRPC")
        assert url.startswith("https://")
        assert get(url, authority) == 200
        at = {"port": int(target.rpartition(":")[2]), "path": None, "tls": True, "client_certificate": True}
        assert grpc_address(url, authority, "sk-1") == at
        mine = clients.issue_cert("client.example")
        assert rpc_works(target, authority, mine)
        assert not rpc_works(target, authority, None)
        assert not rpc_works(target, authority, trustme.CA().issue_cert("client.example"))
        issue(renewing, cert, key)
        while get(url, renewing) is None:  # it looks at the files once a second
            pass
        assert get(url, authority) is None
        assert rpc_works(target, renewing, mine)
        key.write_text("nonsense")  # half of a renewal: what works goes on
        assert get(url, renewing) == 200
        assert rpc_works(target, renewing, mine)


def issue(authority: trustme.CA, cert: Path, key: Path) -> None:
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    leaf.private_key_pem.write_to_path(key)
    leaf.cert_chain_pems[0].write_to_path(cert)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def grpc_address(url: str, authority: trustme.CA, key: str) -> object:
    """Return what the HTTP door tells of the other one."""
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx2.get(f"{url}/version", headers=headers, verify=trusting(authority))
    return answer.json()["grpc"]


def get(url: str, authority: trustme.CA) -> int | None:
    """Return the status of an answer, or None if the certificate is of another authority."""
    try:
        return httpx2.get(f"{url}/health", verify=trusting(authority)).status_code
    except httpx2.ConnectError:
        return None


def rpc_works(target: str, authority: trustme.CA, client: trustme.LeafCert | None) -> bool:
    mine = {}
    if client is not None:
        mine = {
            "private_key": client.private_key_pem.bytes(),
            "certificate_chain": client.cert_chain_pems[0].bytes(),
        }
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), **mine)
    both = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials("sk-1"))
    with grpc.secure_channel(target, both) as channel:
        try:
            return bool(models_by_grpc(channel))
        except grpc.RpcError:
            return False


def test_certificates_that_cannot_be_used_are_refused_at_once(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    assert "--tls-key is required together with --tls-cert" in refusal("--tls-cert", cert)
    assert str(cert) in refusal("--tls-cert", cert, "--tls-key", key)
    issue(trustme.CA(), cert, key)
    other = tmp_path / "other.pem"
    issue(trustme.CA(), tmp_path / "unused.pem", other)
    assert "mismatch" in refusal("--tls-cert", cert, "--tls-key", other).lower()


def test_keys_come_from_a_file_and_are_never_shown(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("sk-one # of the first service\n\n# sk-old\nsk-two\n")
    with serving("--api-key-file", keys, "--host", "0.0.0.0") as server:  # noqa: S104
        url = server.address("HTTP")
        for key, status in (("sk-one", 200), ("sk-two", 200), ("sk-old", 401), ("of the first service", 401)):
            answer = httpx2.get(f"{url}/v1/models?api_key={key}", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == status
        command = Path(f"/proc/{server.process.pid}/cmdline")
        if command.exists():
            assert "sk-" not in command.read_text()
    logged = server.log
    assert "GET '/v1/models' 401" in logged
    assert "sk-" not in "".join(server.lines) + logged
    assert not any("WARNING" in line for line in server.lines)


@pytest.mark.parametrize(
    ("content", "problem"),
    [("", "at least one key"), ("# nothing\n\n", "at least one key"), (None, "No such file")],
)
def test_a_key_file_without_a_key_does_not_open_the_server(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    keys = tmp_path / "keys"
    if content is not None:
        keys.write_text(content)
    assert problem in refusal("--api-key-file", keys)


@pytest.mark.parametrize("key", ["", ",", " , "])
def test_an_empty_key_does_not_open_the_server(key: str) -> None:
    assert "--api-key" in refusal("--api-key", key)


def test_a_server_for_everybody_says_so() -> None:
    flags = ("--host", "0.0.0.0")  # noqa: S104
    with serving(*flags) as server, serving(*flags, "--allow-unauthenticated") as quiet:
        pass
    assert any("WARNING" in line and "NUCLEUS_API_KEY" in line for line in server.lines)
    assert not any("WARNING" in line for line in quiet.lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_model_loads_ends_the_server_at_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "http.sock"
    process = subprocess.Popen(
        [NUCLEUS, "serve", "--http-port", f"unix:{path}", "--grpc-port", "0"],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "loading" in process.stdout.readline()
    process.send_signal(number)
    _, complaints = process.communicate(timeout=PATIENCE)
    assert (process.returncode, complaints) == (128 + number, "")
    assert not path.exists()
