"""What a reader sees of an answer while it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.playground.playground import LONGEST_MS
from tests.playground.test_page import FRANCE, event_of

if TYPE_CHECKING:
    from playwright.async_api import Route

    from tests.playground.playground import Playground


async def test_an_answer_that_grows_is_followed(playground: Playground) -> None:
    page = playground.page

    async def answer(route: Route) -> None:
        events = (event_of([f"line {number}\n"], start=number * 10) for number in range(200))
        body = "".join(events) + "data: [DONE]\n\n"
        await route.fulfill(body=body, content_type="text/event-stream")

    await page.route("**/v1/completions", answer)
    await playground.complete(FRANCE)
    await expect(playground.token(199)).to_be_in_viewport()
    one = "document.querySelector('#columns .text')"
    assert await playground.evaluate(f"{one}.scrollHeight === {one}.clientHeight"), "it scrolls with the page"
    await page.evaluate("scrollTo(0, 0)")
    await playground.column().get_by_role("button", name="Continue").click()
    await playground.ended()
    await expect(playground.token(399)).to_be_in_viewport()


async def test_nothing_scrolls_for_a_reader_who_looked_away(playground: Playground) -> None:
    page = playground.page
    await page.fill("#prompt", FRANCE)
    await playground.set(max_tokens="4000", temperature="2")
    await page.check("#field-ignore_eos")
    await page.set_viewport_size({"width": 600, "height": 300})
    try:
        await page.click("#complete")
        await expect(playground.token(40)).to_be_in_viewport(timeout=LONGEST_MS)
        await expect(page.locator("#panel-complete .stop")).to_be_in_viewport()
        await page.evaluate("scrollTo(0, 0)")
        await expect(playground.token(60)).to_be_attached(timeout=LONGEST_MS)
        assert await playground.evaluate("scrollY") == 0
        await page.keyboard.press("Escape")
        await playground.ended()
    finally:
        await page.set_viewport_size({"width": 1200, "height": 900})


async def test_a_chats_stop_stays_in_view(playground: Playground) -> None:
    page = playground.page
    await page.click("#tab-chat")
    await playground.set(max_tokens="4000", temperature="2")
    await page.check("#field-ignore_eos")
    await page.fill("#say", "Hello\n" * 60)
    await page.click("#send")
    await expect(page.locator("#messages .assistant")).to_be_in_viewport(timeout=LONGEST_MS)
    await expect(page.locator("#composer .stop")).to_be_in_viewport()
    await page.click("#composer .stop")
    await expect(page.locator("#messages .assistant")).to_contain_text("… stopped by you")
