"""``nucleus tokenize``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.commands.run import Command


def test_tokens_there_and_back(command: Command) -> None:
    text = "The capital 天气\n"
    answer = json.loads(command("tokenize", text, "--json").out)
    ids = [token["id"] for token in answer["tokens"]]
    assert answer["count"] == len(ids)
    assert answer["tokens"][0] == {"id": 504, "text": "The"}
    assert command("tokenize", "--ids", ",".join(map(str, ids))).out == text + "\n"
    assert command("tokenize", "-", "--count", stdin=text.encode() + b"\n").out == f"{len(ids)}\n"
    shown = command("tokenize", text)
    assert shown.out.splitlines()[-1] == f"{len(ids)} tokens"
    assert shown.out.splitlines()[0].split() == ["504", "'The'"]


def test_special_tokens_are_added_unless_told_otherwise(command: Command, tiny_model: str) -> None:
    both = command("tokenize", "a", "--model", tiny_model, "--count")
    without = command("tokenize", "a", "--model", tiny_model, "--count", "--no-special")
    assert int(both.out) == int(without.out) + 1


def test_ids_that_are_none_are_one_line(command: Command) -> None:
    for ids in ("x", "49152", "-1", "9" * 5000):
        run = command("tokenize", f"--ids={ids}")
        assert run.status == 1
        assert "--ids should be ids from 0 to 49151" in run.err
