"""Keys in a file that changes while the server runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import grpc
import pytest

from engine.errors import AuthenticationError, InvalidRequestError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.serving.auth import ApiKeys
from tests.edge.servers import served
from tests.grpc.calls import serving, stub_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text("sk-1\n")
    return file


def accepted(keys: ApiKeys) -> set[str]:
    found = set()
    for number in range(5):
        try:
            keys.check(f"Bearer sk-{number}")
        except AuthenticationError:
            continue
        found.add(f"sk-{number}")
    return found


def replace(file: Path, text: str) -> None:
    """Put a new file in its place at once, as a Secret of Kubernetes and careful editors do."""
    new = file.with_name("new")
    new.write_text(text)
    new.replace(file)


def test_what_is_in_the_file_now_counts_besides_what_was_given(file: Path) -> None:
    keys = ApiKeys(["sk-0"], file)
    assert accepted(keys) == {"sk-0", "sk-1"}
    replace(file, "sk-2 # the new one\n\nsk-3")
    assert accepted(keys) == {"sk-0", "sk-1"}  # until it is looked at
    keys.refresh()
    assert accepted(keys) == {"sk-0", "sk-2", "sk-3"}
    file.write_text("sk-4\n")
    keys.refresh()
    assert accepted(keys) == {"sk-0", "sk-4"}


@pytest.mark.parametrize("damage", ["gone", "empty", "only a comment", "not text"])
def test_a_file_that_cannot_be_used_opens_the_server_to_nobody(
    file: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ApiKeys((), file)
    if damage == "gone":
        file.unlink()
    else:
        replace(file, {"empty": "", "only a comment": "# sk-2", "not text": "\x00"}[damage])
    if damage == "not text":
        file.write_bytes(b"\xff\xfe")
    for _ in range(3):
        keys.refresh()
        assert accepted(keys) == {"sk-1"}
        assert not keys.is_empty
    assert [record.levelno for record in caplog.records] == [logging.ERROR], "it is told once"
    replace(file, "sk-2")
    keys.refresh()
    assert accepted(keys) == {"sk-2"}


def test_a_file_without_a_key_is_refused_at_the_start(file: Path) -> None:
    file.write_text("# none\n")
    with pytest.raises(InvalidRequestError, match="at least one key"):
        ApiKeys(["sk-0"], file)


async def test_a_running_server_takes_new_keys_at_both_doors(file: Path) -> None:
    keys = ApiKeys((), file)
    async with served(keys=keys) as server, serving(server.service, keys) as channel:

        async def status(key: str) -> int:
            answer = await server.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
            return answer.status_code

        assert (await status("sk-1"), await status("sk-2")) == (200, 401)
        replace(file, "sk-2")
        while await status("sk-2") != 200:  # the file is looked at once a second
            pass
        assert await status("sk-1") == 401
        stub = stub_of(channel)
        assert await stub.ListModels(pb.ListModelsRequest(), metadata=(("authorization", "Bearer sk-2"),))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ListModels(pb.ListModelsRequest(), metadata=(("authorization", "Bearer sk-1"),))
