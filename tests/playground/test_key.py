"""A server with a key: the page asks for it, and keeps it nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.async_api import expect

from engine.serving.auth import ApiKeys
from tests.playground.conftest import serving
from tests.playground.playground import Playground

if TYPE_CHECKING:
    from playwright.async_api import Page

    from engine.service.service import CompletionService

FRANCE = "The capital of France is"
GREEDY = {"temperature": "0", "max_tokens": "8"}


async def test_a_page_without_its_key_offers_to_take_it(page: Page, service: CompletionService) -> None:
    async with serving(service, ApiKeys(["right"])) as url:
        playground = Playground(page)
        dialog, banner = page.locator("#key-dialog"), page.locator("#locked")
        await page.goto(url)
        await expect(dialog).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(banner).to_contain_text("This server wants a key")
        await expect(page.locator("#alert")).to_be_hidden()
        for tab, button in (("complete", "complete"), ("chat", "send"), ("score", "score")):
            await page.click(f"#tab-{tab}")
            await page.click(f"#{button}")
            await expect(dialog).to_be_visible()
            await page.get_by_role("button", name="Cancel").click()
            await expect(banner).to_be_visible()
        await page.click("#tab-server")
        await page.click("#give-key")
        await page.fill("#key", "right")
        await page.keyboard.press("Enter")
        await expect(banner).to_be_hidden()
        await expect(page.locator("#figures")).to_contain_text(service.name)
        await page.click("#tab-complete")
        await playground.complete(FRANCE, **GREEDY)
        assert await playground.text()
        playground.close()
        await page.goto("about:blank")


async def test_a_shared_prompt_is_there_before_the_key(
    playground: Playground, service: CompletionService
) -> None:
    page = playground.page
    await page.fill("#prompt", "Shared")
    await playground.set(temperature="0.5")
    await page.click("#share")
    await page.wait_for_function("location.hash.length > 1")
    fragment = page.url.partition("#")[2]
    async with serving(service, ApiKeys(["right"])) as url:
        other = await page.context.new_page()
        await other.goto(f"{url}/#{fragment}")
        await expect(other.locator("#key-dialog")).to_be_visible()
        await expect(other.locator("#prompt")).to_have_value("Shared")
        await other.fill("#key", "right")
        await other.keyboard.press("Enter")
        await expect(other.locator("#field-temperature")).to_have_value("0.5")
        await other.close()


async def test_a_key_is_asked_for_and_kept_nowhere(page: Page, service: CompletionService) -> None:
    async with serving(service, ApiKeys(["right"])) as url:
        playground = Playground(page)
        await page.goto(url)
        for key in ("wrong", "right"):
            await expect(page.locator("#key-dialog")).to_be_visible()
            await expect(page.locator("#key-wrong")).to_be_visible(visible=key == "right")
            await page.fill("#key", key)
            await page.get_by_role("button", name="Use it").click()
        await page.wait_for_selector("body[data-ready]")
        await playground.complete(FRANCE, **GREEDY)
        assert await playground.text()
        await page.evaluate("dispatchEvent(new Event('pagehide'))")  # when the page keeps what was typed
        kept = await playground.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
        assert FRANCE in kept
        assert "right" not in kept
        assert "right" not in page.url
        await page.get_by_role("button", name="curl").click()
        assert "YOUR_KEY" in await page.input_value("#snippet")
        playground.close()
        await page.goto("about:blank")
