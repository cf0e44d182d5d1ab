"""``nucleus top``: what a running server does, and what is said where there is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from engine.errors import UnavailableError
from engine.loading.launch import launch
from engine.loading.options import EngineOptions
from engine.service.state import TOTALS
from tests.commands.test_doctor import answering

if TYPE_CHECKING:
    from pathlib import Path

    from engine.service.service import CompletionService
    from tests.commands.run import Command

_GONE = "http://127.0.0.1:9"


async def test_a_state_is_what_the_engine_has(service: CompletionService) -> None:
    fields = {
        "model": service.name,
        "prompt": "A long time ago",
        "n": 2,
        "max_tokens": 500,
        "ignore_eos": True,
    }
    stream = await service.stream(service.parse(fields | {"stream": True}))
    state = await service.state()
    await stream.aclose()
    first, second = state.slots
    assert first.runs[0] == second.runs[0], "the prompt is computed once"
    assert {slot.phase for slot in state.slots} == {"decode"}
    assert state.kv.used == first.runs[0].tokens + sum(
        run.tokens for slot in state.slots for run in slot.runs[1:]
    )
    assert state.totals.keys() == set(TOTALS)


async def test_a_closed_engine_says_so() -> None:
    service = launch(EngineOptions(parallel=1, ctx_size=64, speculation="off")).service
    service.close()
    with pytest.raises(UnavailableError, match="closed"):
        await service.state()


def test_nobody_is_there(command: Command) -> None:
    run = command("top", _GONE)
    assert (run.status, run.out) == (1, "")
    assert "cannot be reached" in run.err
    assert "nucleus serve" in run.err


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "file:///etc/passwd", "http://", ""])
def test_what_is_no_address(command: Command, url: str) -> None:
    run = command("top", url)
    assert run.status == 1
    assert "URL should be an address" in run.err


def test_a_key_goes_to_the_server_that_was_named_alone(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUCLEUS_API_KEY", "sk-secret")
    seen: list[str] = []
    with answering(b"{}", seen=seen) as other, answering(b"", location=f"http://127.0.0.1:{other}/") as port:
        run = command("top", f"http://127.0.0.1:{port}")
    assert (run.status, seen) == (1, [])
    assert "answered 302" in run.err


@pytest.mark.parametrize("key", ["schlüssel", "two\x00parts"])
def test_a_key_that_no_header_can_hold_is_not_shown(command: Command, tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key, encoding="utf-8")
    run = command("top", _GONE, "--api-key-file", str(tmp_path / "key"))
    assert run.status == 1
    assert "printable ASCII" in run.err
    assert key not in run.err


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"model": 1}', b""])
def test_another_server(command: Command, body: bytes) -> None:
    with answering(body) as port:
        run = command("top", f"http://127.0.0.1:{port}", "--json")
    assert run.status == 1
    assert "Traceback" not in run.err
    assert f"http://127.0.0.1:{port}" in run.err


def test_a_state_as_json(command: Command) -> None:
    state = {
        "model": "m",
        "uptime_seconds": 1.5,
        "n_slots": 4,
        "slots": [],
        "waiting": 0,
        "kv": {"cells": 64, "used": 0, "deferred": 0, "saved_prefixes": 0},
        "totals": dict.fromkeys(TOTALS, 0),
        "step_ms": {"1": 12.5},
    }
    with answering(json.dumps(state).encode()) as port:
        run = command("top", f"http://127.0.0.1:{port}", "--json")
        shown = command("top", f"http://127.0.0.1:{port}").out
    assert json.loads(run.out) == state
    assert "0 of 4 run" in shown
