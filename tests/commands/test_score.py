"""``nucleus score``."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.run import Command

SMALL = ("--ctx-size", "256", "--speculation", "off")


@pytest.fixture
def story(tmp_path: Path) -> str:
    path = tmp_path / "story.txt"
    path.write_text("The capital of France is Paris.\n")
    return str(path)


def test_perplexity_in_total_and_per_token(command: Command, story: str) -> None:
    found = json.loads(command("score", story, "--json", *SMALL).out)
    logprobs = [logprob for logprob in found["token_logprobs"] if logprob is not None]
    assert found["count"] == len(logprobs) == len(found["tokens"]) - 1
    assert found["perplexity"] == pytest.approx(math.exp(-math.fsum(logprobs) / len(logprobs)))
    total = command("score", story, *SMALL).out
    per_token = f"over {found['count']} tokens ({found['mean']:.4f} nats each)"
    assert total == f"perplexity {found['perplexity']:.3f} {per_token}\n"
    each = command(
        "score", "-", "--tokens", *SMALL, stdin=b"The capital of France is Paris.\n"
    ).out.splitlines()
    assert each[-1] + "\n" == total
    assert each[0].split() == ["id", "logprob", "token"]
    assert each[1].split()[:2] == [str(found["token_ids"][0]), "-"]
    assert each[2].split()[1] == f"{logprobs[0]:.4f}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), ("FILE",)), (("absent.txt",), ("absent.txt",))],
)
def test_bad_input_is_one_line(command: Command, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    run = command("score", *arguments, *SMALL)
    assert run.status == 1
    (line,) = run.err.strip().splitlines()
    for word in words:
        assert word in line


def test_a_window_that_does_not_fit_is_one_line(command: Command, story: str) -> None:
    run = command("score", story, "--window", "1000", *SMALL)
    assert run.status == 1
    assert "'window' should be an integer from 2 to 256, not 1000" in run.err
