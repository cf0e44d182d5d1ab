"""How the page looks: to a screen reader, in the dark, on a narrow screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.playground.playground import Playground

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

TABS = ("complete", "chat", "score", "server")
AXE = Path("build/playground/node_modules/axe-core/axe.min.js")


@pytest.fixture(scope="module")
async def filled(browser: Browser, url: str) -> AsyncIterator[Playground]:
    """The page with something on every tab."""
    context = await browser.new_context(viewport={"width": 1200, "height": 900})
    playground = Playground(await context.new_page())
    await playground.open(url)
    await playground.page.select_option("#form-kind", "choice")
    await playground.complete("Yes or no? ", n="2", max_tokens="6")
    await playground.look_at(0)
    await playground.page.get_by_role("button", name="Python").click()
    await playground.page.select_option("#form-kind", "")
    await playground.page.click("#tab-score")
    await playground.page.fill("#score-a", "A fox ran over the hill, and nobody saw it go.")
    await playground.page.click("#score")
    await playground.ended()
    await playground.page.click("#tab-chat")
    await playground.page.fill("#say", "Hello")
    await playground.page.click("#send")
    await playground.ended()
    yield playground
    playground.check()
    await context.close()


@pytest.fixture(scope="session")
def axe() -> str:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make page-check")
    return AXE.read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(filled: Playground, axe: str, scheme: Literal["light", "dark"]) -> None:
    await filled.page.emulate_media(color_scheme=scheme)
    await filled.page.evaluate(axe)
    # The scheme changes colours, and nothing else that axe looks at.
    options = "" if scheme == "light" else "{ runOnly: ['color-contrast'] }"
    for tab in TABS:
        await filled.page.click(f"#tab-{tab}")
        found: list[dict[str, Any]] = (await filled.evaluate(f"axe.run({options})"))["violations"]
        told = [(each["id"], [node["html"][:160] for node in each["nodes"]]) for each in found]
        assert told == [], (tab, scheme)


@pytest.mark.parametrize("width", [360, 800])
async def test_nothing_is_wider_than_the_screen(filled: Playground, width: int) -> None:
    await filled.page.set_viewport_size({"width": width, "height": 700})
    for tab in TABS:
        await filled.page.click(f"#tab-{tab}")
        assert await filled.evaluate("document.documentElement.scrollWidth") <= width, tab


async def test_the_theme_can_be_changed(filled: Playground) -> None:
    await filled.page.emulate_media(color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    before = await filled.evaluate(paper)
    await filled.page.click("#theme")
    dark = await filled.evaluate(paper)
    await filled.page.click("#theme")
    assert await filled.evaluate(paper) == before != dark
