"""``--config``: a file of defaults, by the names of the flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.run import Command


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "nucleus.toml"


def test_a_flag_goes_before_a_variable_and_that_before_the_file(
    command: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each value is out of range, so the error says which one was taken."""
    config.write_text("max-tokens = -1\n")
    flags = ("complete", "a", "--config", str(config))
    assert "-1" in command(*flags).err
    monkeypatch.setenv("NUCLEUS_MAX_TOKENS", "-2")
    assert "-2" in command(*flags).err
    assert "-3" in command(*flags, "--max-tokens", "-3").err


def test_a_table_of_a_verb_goes_before_the_top(command: Command, config: Path) -> None:
    config.write_text("ctx_size = -1\n[complete]\nctx-size = -2\n[chat]\nctx-size = -3\n")
    for verb, value in (("complete", "-2"), ("chat", "-3"), ("bench", "-1")):
        arguments = () if verb == "bench" else ("a",)
        assert f"not '{value}'" in command(verb, *arguments, "--config", str(config)).err


def test_values_of_every_kind_are_taken(command: Command, config: Path, tiny_model: str) -> None:
    config.write_text(
        f'model = "{tiny_model}"\nctx-size = 64\nprefix-cache = false\n'
        '[complete]\nmax-tokens = 4\ntemperature = 0.5\nseed = 1\nignore-eos = true\nstop = ["zzzz"]\n'
        "logit-bias = { 70 = 100 }\n"
    )
    run = command("complete", "a", "--config", str(config))
    assert run.status == 0, run.err
    assert run.out == "CCCC\n"


def test_the_variable_names_the_file(command: Command, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("max-tokens = -7\n")
    monkeypatch.setenv("NUCLEUS_CONFIG", str(config))
    assert "-7" in command("complete", "a").err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max-tokesn = 1", ("max_tokesn", "max_tokens")),
        ("[complete]\nhost = 'a'", ("host", "[complete]")),
        ("complete = 1", ("complete", "[complete]")),
        ("a = ", ("TOML",)),
        ("config = 'x'", ("config",)),
    ],
)
def test_what_means_nothing_is_one_line(
    command: Command, config: Path, text: str, words: tuple[str, ...]
) -> None:
    config.write_text(text)
    run = command("complete", "a", "--config", str(config))
    assert run.status == 1
    (line,) = run.err.strip().splitlines()
    for word in (*words, str(config)):
        assert word in line


def test_a_file_that_is_not_there_is_one_line(command: Command) -> None:
    run = command("complete", "a", "--config", "absent.toml")
    assert run.status == 1
    assert run.err == "nucleus: absent.toml: No such file or directory. `nucleus --debug …` shows where.\n"
