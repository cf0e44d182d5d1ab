"""What was typed: in the address, and over a reload."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.playground.playground import Playground

if TYPE_CHECKING:
    from playwright.async_api import Page, Route


async def say_and_score(page: Page) -> None:
    """Type something on every tab, and send one message that gets an answer."""
    answer = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}

    async def reply(route: Route) -> None:
        body = f"data: {json.dumps(answer)}\n\ndata: [DONE]\n\n"
        await route.fulfill(body=body, content_type="text/event-stream")

    await page.route("**/v1/chat/completions", reply)
    await page.fill("#prompt", "Typed")
    await page.click("#tab-score")
    await page.fill("#score-b", "Two")
    await page.click("#tab-chat")
    await page.fill("#say", "Hello")
    await page.click("#send")
    await expect(page.locator("#messages .assistant .said")).to_have_text("Hi")
    await page.fill("#say", "A draft")


async def everything_is_there(page: Page) -> None:
    await page.wait_for_selector("body[data-ready]")
    await expect(page.locator("#panel-chat")).to_be_visible()
    await expect(page.locator("#prompt")).to_have_value("Typed")
    await expect(page.locator("#messages .said")).to_have_text(["Hello", "Hi"])
    await expect(page.locator("#say")).to_have_value("A draft")
    await expect(page.locator("#score-a")).to_have_value("")
    await expect(page.locator("#score-b")).to_have_value("Two")


async def test_the_address_holds_the_conversation_and_the_texts(playground: Playground) -> None:
    page = playground.page
    await say_and_score(page)
    await page.click("#share")
    await expect(page.locator("#announcements")).to_contain_text("The address holds what you typed.")
    other = await page.context.new_page()
    await other.goto(page.url)
    await everything_is_there(other)
    await other.close()


async def test_what_is_too_long_for_the_address_is_told(playground: Playground) -> None:
    page = playground.page
    await page.click("#tab-chat")
    random = "Array.from(crypto.getRandomValues(new Uint8Array(9000)), (each) => each.toString(36)).join('')"
    await page.evaluate(f"document.querySelector('#say').value = {random}")
    await page.click("#share")
    told = "The address holds what you typed, without the conversation: too long for it."
    await expect(page.locator("#announcements")).to_contain_text(told)
    assert len(page.url) < 8000


async def test_a_reload_keeps_what_was_typed_and_no_key(playground: Playground) -> None:
    page = playground.page
    await playground.set(temperature="0.5")
    await say_and_score(page)
    before = await playground.evaluate("document.documentElement.dataset.theme")
    await page.click("#theme")
    theme = await playground.evaluate("document.documentElement.dataset.theme")
    assert before != theme
    await page.reload()
    await everything_is_there(page)
    await expect(page.locator("#field-temperature")).to_have_value("0.5")
    await expect(page.locator("#field-max_tokens")).to_have_value("64")
    assert await playground.evaluate("document.documentElement.dataset.theme") == theme


async def test_what_is_typed_over_an_address_outlives_a_reload(playground: Playground) -> None:
    page = playground.page
    await page.fill("#prompt", "Shared")
    await page.click("#share")
    await page.wait_for_function("location.hash.length > 1")
    shared = page.url
    await page.fill("#prompt", "Changed")
    await page.reload()
    await expect(page.locator("#prompt")).to_have_value("Changed")
    await page.goto("about:blank")
    await playground.open(shared)
    await expect(page.locator("#prompt")).to_have_value("Shared")


async def test_the_address_holds_what_was_typed(playground: Playground, url: str) -> None:
    await playground.page.fill("#prompt", "Écoute, 世界!")
    await playground.set(temperature="0.5", stop="a\nb")
    await playground.page.select_option("#form-kind", "regex")
    await playground.page.fill("#form-text", "[a-z]+")
    await playground.page.click("#share")
    await playground.page.wait_for_function("location.hash.length > 1")
    shared = playground.page.url
    other = Playground(await playground.page.context.new_page())
    await other.open(shared)
    assert await other.page.input_value("#prompt") == "Écoute, 世界!"
    assert await other.page.input_value("#field-temperature") == "0.5"
    assert await other.page.input_value("#field-stop") == "a\nb"
    assert await other.page.input_value("#form-text") == "[a-z]+"
    await other.page.goto(f"{url}/#damaged!")
    await other.page.wait_for_selector("body[data-ready]")
    other.check()
    await other.page.close()
