"""``docs/cli.md`` is what the command says of itself."""

from __future__ import annotations

from tests.commands.page import PAGE, page


def test_the_page_is_what_the_command_says() -> None:
    assert PAGE.read_text() == page(), "python -m tests.commands.page writes it anew"
