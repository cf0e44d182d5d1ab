"""The panel of sampling fields: what is wrong is told where it is seen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.async_api import expect

if TYPE_CHECKING:
    from tests.playground.playground import Playground


async def test_a_field_is_checked_when_it_is_left(playground: Playground) -> None:
    page = playground.page
    problem = page.locator("#field-temperature-problem")
    await playground.set(temperature="9")
    await page.keyboard.press("Tab")
    await expect(problem).to_have_text("should be at most 2, not 9")
    await playground.set(temperature="")
    await expect(problem).to_be_empty()
    await playground.set(temperature="9")
    await page.get_by_role("button", name="curl").click()  # which the problem moves
    await expect(problem).to_have_text("should be at most 2, not 9")
    await expect(page.locator("#field-temperature")).to_be_focused()


async def test_the_meaning_of_a_field_has_its_code_marked(playground: Playground) -> None:
    helps = playground.page.locator("#fields .field .help")
    assert "`" not in "".join(await helps.all_text_contents())
    await expect(playground.page.locator("#field-max_tokens-help code").first).to_have_text("echo")


async def test_a_wrong_field_is_unfolded(playground: Playground) -> None:
    page = playground.page
    more = page.locator("#fields details")
    await playground.set(min_p="2", top_k="7")
    await expect(more.locator("summary")).to_have_text(re.compile(r"^\d+ more, 2 set$"))
    await more.evaluate("(each) => { each.open = false }")
    await page.click("#complete")
    await expect(page.locator("#field-min_p")).to_be_focused()
    await expect(page.locator("#field-min_p-problem")).to_have_text("should be at most 1, not 2")
    assert playground.sent == []
    await playground.set(min_p="", top_k="", logit_bias='{"99999999": 1}')
    await more.evaluate("(each) => { each.open = false }")
    await page.click("#complete")
    await expect(page.locator("#field-logit_bias-problem")).to_be_visible()


async def test_a_chat_has_one_answer(playground: Playground) -> None:
    page = playground.page
    count = page.locator("#field-n")
    await playground.set(n="3", max_tokens="8")
    await page.click("#tab-chat")
    await expect(count).to_be_disabled()
    await expect(page.locator("#field-n-note")).to_have_text("A chat has one answer.")
    await page.fill("#say", "Hello")
    await page.click("#send")
    await playground.ended()
    assert "n" not in playground.sent[-1]
    await page.click("#tab-complete")
    await expect(count).to_be_enabled()
    await expect(count).to_have_value("3")
