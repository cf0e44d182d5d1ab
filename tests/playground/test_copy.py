""" "Copy as …" and what else is copied: what is on the screen, and what is told of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from playwright.async_api import expect

from tests.playground.playground import words_of

if TYPE_CHECKING:
    from tests.playground.playground import Playground


async def test_what_is_typed_is_copied_before_it_is_sent_and_followed(playground: Playground) -> None:
    page, box = playground.page, playground.page.locator("#snippet")
    await page.fill("#prompt", "Not sent")
    await playground.copied("curl")
    assert await playground.evaluate("navigator.clipboard.readText()") == await box.input_value()
    await playground.set(temperature="0.25")
    assert body_of(await box.input_value()).items() >= {"prompt": "Not sent", "temperature": 0.25}.items()
    await playground.set(temperature="9")
    await expect(box).to_have_value("Something is wrong or missing.")
    await page.get_by_role("button", name="Python").click()
    await expect(page.locator("#field-temperature")).to_be_focused()
    await playground.set(temperature="")
    await page.click("#tab-chat")
    await page.fill("#say", "Hello")
    asked = body_of(await box.input_value())
    assert asked["messages"] == [{"role": "user", "content": "Hello"}]
    assert asked["max_completion_tokens"] == 64
    await page.click("#send")
    await playground.ended()
    assert body_of(await box.input_value()) == playground.sent[-1] == asked
    assert len(playground.sent) == 1


def body_of(command: str) -> dict[str, Any]:
    """Return the body that a command for curl sends."""
    body: dict[str, Any] = json.loads(words_of(command)[-1])
    return body


async def test_a_browser_that_does_not_copy_is_told(playground: Playground) -> None:
    page, told = playground.page, playground.page.locator("#announcements")
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await page.get_by_role("button", name="curl").click()
    await expect(told).to_have_text("The browser does not let the page copy: do it by hand.")
    await page.click("#share")
    await expect(told).to_contain_text("The address holds")
    await expect(told).not_to_contain_text("copied")


async def test_what_is_done_is_told_to_everybody(playground: Playground) -> None:
    told = playground.page.locator("#announcements")
    await playground.complete("A city: ", max_tokens="2")
    await playground.column().get_by_role("button", name="Copy text").click()
    await expect(told).to_have_text("Copied.")
    await expect(told).not_to_have_class("unseen")
    await playground.column().locator(".text").focus()
    await playground.page.keyboard.press("ArrowRight")
    await expect(told).to_have_class("unseen")
