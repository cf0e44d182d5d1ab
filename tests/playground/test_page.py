"""What a person can do with the page, end to end."""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

if TYPE_CHECKING:
    from playwright.async_api import Locator, Route

    from engine.service.service import CompletionService
    from tests.playground.playground import Playground


def as_text(name: str | None) -> str:
    """Return the text of a token as a card writes it."""
    return (name or "").replace("·", " ").replace("↵", "\n")


FRANCE = "The capital of France is"
GREEDY = {"temperature": "0", "max_tokens": "8"}


async def answer_of(service: CompletionService, **fields: object) -> str:
    request = service.parse({"model": service.name, "temperature": 0, **fields})
    return (await service.complete(request)).choices[0].text


async def test_an_answer_grows_in_place_and_is_the_servers(
    playground: Playground, service: CompletionService
) -> None:
    await playground.complete(FRANCE, **GREEDY)
    assert await playground.text() == await answer_of(service, prompt=FRANCE, max_tokens=8)
    assert playground.sent[-1]["stream"] is True
    await expect(playground.column().locator(".status")).to_contain_text(
        "cut at max_tokens · 8 tokens, perplexity"
    )
    await expect(playground.page.locator("#usage")).to_contain_text("8 generated")


async def test_only_what_differs_from_the_defaults_is_sent(playground: Playground) -> None:
    await playground.complete(FRANCE, **GREEDY, stop="\\n\nEND", logit_bias='{"7": -100}')
    sent = playground.sent[-1]
    assert sent.pop("model")
    assert sent == {
        "prompt": FRANCE,
        "temperature": 0,
        "max_tokens": 8,
        "stop": ["\n", "END"],
        "logit_bias": {"7": -100},
        "logprobs": 5,
        "return_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_a_click_on_an_alternative_continues_from_there(
    playground: Playground, service: CompletionService
) -> None:
    await playground.complete(FRANCE, **GREEDY, n="2")
    first = [await playground.token(index).text_content() or "" for index in range(8)]
    card = await playground.look_at(3)
    buttons = card.locator("button")
    assert await buttons.count() >= 5
    await expect(card.locator("[aria-current]")).to_have_count(1)
    other = buttons.nth(1)
    chosen = as_text(await other.locator("code").text_content())
    await other.click()
    await playground.ended()
    sent = playground.sent[-1]
    assert (sent["prompt"], sent["max_tokens"], "n" in sent) == (FRANCE, 12, False)
    tokens = sent["resume_token_ids"]
    assert len(tokens) == 4
    begins = "".join(first[:3]) + chosen
    assert service.detokenize({"tokens": tokens}).prompt == begins
    prompt = [*service.engine.backend.tokenize(FRANCE), *tokens]
    assert await playground.text() == begins + await answer_of(service, prompt=prompt, max_tokens=8)
    await expect(playground.page.locator("#usage")).to_contain_text("8 generated")
    branches = playground.page.locator("#branches > li > ol > li")
    await expect(branches).to_have_count(1)
    await expect(branches.first).to_contain_text("from token 4")
    await expect(playground.page.locator("#columns .column")).to_have_count(2)
    assert await playground.column(1).get_attribute("data-branch") == "1", "the other choice stays"
    shown = playground.page.locator("#branches [aria-current=true]")
    assert [await shown.nth(at).get_attribute("data-branch") for at in range(2)] == ["2", "1"]
    await expect(playground.token(3)).to_have_class(re.compile("begin"))
    await playground.column(1).get_by_role("button", name="Close").click()
    await expect(playground.page.locator("#columns .column")).to_have_count(1)
    await expect(shown).to_have_count(1)


async def test_branches_are_walked_kept_beside_and_exported(
    playground: Playground, service: CompletionService
) -> None:
    await playground.complete(FRANCE, **GREEDY)
    before = await playground.text()
    await playground.column().get_by_role("button", name="Pin").click()
    await playground.page.click("#regenerate")
    await playground.ended()
    await expect(playground.page.locator("#columns .column")).to_have_count(2)
    assert await playground.text(0) == await playground.text(1) == before
    await playground.column(1).get_by_role("button", name="Continue").click()
    await playground.ended()
    assert await playground.text(1) == await answer_of(service, prompt=FRANCE, max_tokens=16)
    async with playground.page.expect_download() as download:
        await playground.page.click("#export")
    exported = json.loads((await (await download.value).path()).read_text())
    assert [branch["parent"] for branch in exported["branches"]] == [None, None, 1]
    assert exported["branches"][0]["text"] == FRANCE + before
    await playground.page.locator("#branches > li").first.locator("button").first.click()
    assert await playground.text(0) == before


async def test_branches_of_an_earlier_prompt_are_kept(playground: Playground) -> None:
    page = playground.page
    await playground.complete(FRANCE, **GREEDY)
    before = await playground.text()
    await playground.complete("The capital of Spain is", **GREEDY)
    await expect(page.locator(".behind")).to_have_text("behind “The capital of Spain is”")
    earlier = page.locator("#branches .earlier")
    await expect(earlier.locator("summary")).to_have_text(f"{FRANCE} 1 branch of an earlier prompt")
    await earlier.locator("summary").click()
    await earlier.locator("button").click()
    await playground.ended()
    assert await playground.text() == before
    assert await page.input_value("#prompt") == FRANCE
    await page.fill("#prompt", "Not asked yet")
    await page.locator("#branches > li > button").click()
    assert await page.input_value("#prompt") == "Not asked yet"
    async with page.expect_download() as download:
        await page.click("#export")
    exported = json.loads((await (await download.value).path()).read_text())
    assert [branch["prompt"] for branch in exported["branches"]] == [FRANCE, "The capital of Spain is"]


async def test_choices_stand_side_by_side_and_a_seed_repeats_them(playground: Playground) -> None:
    await playground.complete(FRANCE, n="2", seed="7", max_tokens="8")
    once = [await playground.text(0), await playground.text(1)]
    assert once[0] != once[1]
    await playground.page.click("#regenerate")
    await playground.ended()
    assert [await playground.text(0), await playground.text(1)] == once
    await playground.complete(FRANCE, n="3", max_tokens="8")
    boxes = [await playground.column(number).bounding_box() for number in range(3)]
    assert len({box["y"] for box in boxes if box}) == 1, "in one row"


async def test_the_keyboard_walks_over_tokens_to_their_alternatives(playground: Playground) -> None:
    await playground.complete(FRANCE, **GREEDY)
    await playground.column().locator(".text").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        await playground.page.keyboard.press(key)
    assert "current" in (await playground.token(0).get_attribute("class") or "")
    await playground.page.keyboard.press("Enter")
    assert await playground.evaluate("document.activeElement.closest('#inspector') !== null")
    await playground.page.keyboard.press("Escape")
    await expect(playground.page.locator("#inspector")).to_be_hidden()
    await expect(playground.page.locator(".current")).to_have_count(0)
    text = playground.column().locator(".text")
    await expect(text).to_be_focused()
    await playground.page.keyboard.press("ArrowRight")
    await playground.page.keyboard.press("Enter")
    buttons = playground.page.locator("#inspector button:enabled")
    for key, number in (
        ("ArrowDown", 1),
        ("ArrowUp", 0),
        ("ArrowUp", -1),
        ("ArrowDown", 0),
        ("ArrowDown", 1),
    ):
        await playground.page.keyboard.press(key)
        await expect(buttons.nth(number)).to_be_focused()
    await playground.page.keyboard.press("Enter")
    await playground.ended()
    await expect(text).to_be_focused()
    assert await playground.column().get_attribute("data-branch") == "1"
    await playground.page.keyboard.press("ArrowRight")
    await expect(playground.page.locator(".current")).to_have_class(re.compile("begin"))


async def test_the_card_is_not_wider_than_what_a_scrollbar_leaves(playground: Playground) -> None:
    await playground.complete(FRANCE, **GREEDY)
    await playground.page.set_viewport_size({"width": 360, "height": 700})
    try:
        narrow = "Object.defineProperty(document.documentElement, 'clientWidth', { value: 345 })"
        await playground.evaluate(narrow)  # headless Chromium's own scrollbars take no room
        for index in range(8):
            box = await (await playground.look_at(index)).bounding_box()
            assert box
            assert box["x"] + box["width"] <= 345
    finally:
        await playground.page.set_viewport_size({"width": 1200, "height": 900})


async def test_what_is_wrong_is_said_beside_its_field(playground: Playground) -> None:
    await playground.set(temperature="9")
    await playground.page.click("#complete")
    problem = playground.page.locator("#field-temperature-problem")
    await expect(problem).to_have_text("should be at most 2, not 9")
    assert playground.sent == []
    await playground.set(temperature="", logit_bias='{"99999999": 1}')
    await playground.page.click("#complete")
    assert "logit_bias" in await playground.alert()
    await expect(playground.page.locator("#field-logit_bias-problem")).to_contain_text("99999999")


async def test_a_stop_ends_the_work_of_the_server(playground: Playground, service: CompletionService) -> None:
    await playground.page.fill("#prompt", FRANCE)
    await playground.set(max_tokens="4000", temperature="2")
    await playground.page.check("#field-ignore_eos")
    await playground.page.click("#complete")
    await expect(playground.token(2)).to_be_visible()
    await playground.page.keyboard.press("Escape")
    await playground.ended()
    async with asyncio.timeout(30):
        while service.snapshot().requests_unfinished:  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0)
    assert await playground.text()
    status = playground.column().locator(".status")
    await expect(status).to_have_text(re.compile("^stopped by you · [0-9]+ tokens, perplexity"))
    await expect(playground.page.locator("#usage")).to_have_text(
        re.compile("^[0-9]+ generated in [0-9.]+ s, [0-9.]+ tokens/s$")
    )


async def test_a_stream_that_breaks_off_is_told_and_keeps_its_text(playground: Playground) -> None:
    async def cut(route: Route) -> None:
        await route.fulfill(body=event_of([" Paris"]), content_type="text/event-stream")

    await playground.page.route("**/v1/completions", cut)
    await playground.complete(FRANCE)
    assert "The connection ended before the answer did." in await playground.alert()
    assert await playground.text() == " Paris"
    await expect(playground.column().locator(".status")).to_contain_text("broken off · 1 token, perplexity")
    await playground.column().get_by_role("button", name="Continue").click()
    await playground.ended()
    assert playground.sent[-1]["resume_token_ids"] == [7]
    assert await playground.text() == " Paris Paris"


async def test_an_end_that_is_chosen_adds_no_text(playground: Playground) -> None:
    answers = iter([event_of([" Paris", "."], top={"<end>": 2}), event_of([], end="stop")])

    async def end(route: Route) -> None:
        await route.fulfill(body=next(answers) + "data: [DONE]\n\n", content_type="text/event-stream")

    await playground.page.route("**/v1/completions", end)
    await playground.complete(FRANCE)
    card = await playground.look_at(1)
    await card.locator("button", has_text="<end>").click()
    await playground.ended()
    assert playground.sent[-1]["resume_token_ids"] == [7, 2]
    assert await playground.text() == " Paris"
    await expect(playground.column().locator(".status")).to_contain_text("stopped at an end")


def event_of(
    tokens: list[str], *, top: dict[str, int] | None = None, start: int = 0, end: str | None = None
) -> str:
    """Return the event of a piece that adds tokens; their ids begin at 7.

    Args:
        top: Alternatives and their ids, at the place of each token.
    """
    ids = range(7, 7 + len(tokens))
    logprobs = {
        "tokens": tokens,
        "token_logprobs": [-0.1 * ((start + i) % 50) for i in range(len(tokens))],
        "top_logprobs": [{token: -0.1, **dict.fromkeys(top or {}, -2.0)} for token in tokens],
        "top_token_ids": [{token: i, **(top or {})} for token, i in zip(tokens, ids, strict=True)],
        "text_offset": [start + sum(map(len, tokens[:i])) for i in range(len(tokens))],
    }
    choice = {
        "index": 0,
        "text": "".join(tokens),
        "logprobs": logprobs,
        "token_ids": [*ids],
        "finish_reason": end,
    }
    return f"data: {json.dumps({'choices': [choice], 'usage': None})}\n\n"


async def test_a_server_that_is_away_is_told(playground: Playground) -> None:
    await playground.page.route("**/v1/completions", lambda route: route.abort())
    await playground.complete(FRANCE)
    assert "cannot be reached" in await playground.alert()


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}, "is_large": {"type": "boolean"}},
    "required": ["city", "is_large"],
    "additionalProperties": False,
}
CITY = {"temperature": "0", "max_tokens": "64"}


async def test_an_answer_has_the_form_that_was_asked_for(playground: Playground) -> None:
    await playground.page.select_option("#form-kind", "json")
    assert json.loads(await playground.page.input_value("#form-text"))["required"]
    await playground.page.fill("#form-text", json.dumps(SCHEMA))
    await playground.complete("A city: ", **CITY)
    assert json.loads(await playground.text()).keys() == {"city", "is_large"}
    await expect(playground.column().get_by_role("button", name="Continue")).to_be_disabled()
    await playground.page.fill("#form-text", '{"type": "objekt"}')
    await playground.page.click("#complete")
    assert "'type' must be one or more of" in await playground.alert()
    await expect(playground.page.locator("#form-problem")).to_contain_text("'type' must be")


async def test_what_the_form_forced_is_marked(playground: Playground, service: CompletionService) -> None:
    legend = playground.page.locator("#forced-legend")
    await playground.complete("A city: ", temperature="0", max_tokens="1")
    await expect(legend).to_be_hidden()
    await playground.page.select_option("#form-kind", "json")
    await playground.page.fill("#form-text", json.dumps(SCHEMA))
    await playground.complete(**CITY)
    await expect(legend).to_be_visible()
    fields = {"prompt": "A city: ", "max_tokens": 64, "temperature": 0, "logprobs": 0}
    request = service.parse({"model": service.name, "json_schema": SCHEMA, **fields})
    logprobs = (await service.complete(request)).choices[0].logprobs
    assert logprobs is not None
    marked = await playground.evaluate(
        "[...document.querySelectorAll('.token')].map((each) => each.classList.contains('forced'))"
    )
    assert marked == logprobs.forced
    await expect(playground.page.locator(".token.forced[class*=shade]")).to_have_count(0)
    count = marked.count(False)
    assert 0 < count < len(marked)
    status = playground.column().locator(".status")
    await expect(status).to_contain_text(f"{len(marked)} tokens, perplexity")
    await expect(status).to_contain_text(f"over the {count} that were free")
    line = "getComputedStyle(document.querySelector('.token.forced')).textDecorationLine"
    assert await playground.evaluate(line) == "underline"
    free, forced = marked.index(False), marked.index(True)
    await expect((await playground.look_at(free)).locator(".head")).not_to_contain_text("forced")
    card = await playground.look_at(forced)
    await expect(card.locator(".head")).to_contain_text("forced by the form")
    await expect(card.locator(".help")).to_have_text("The form allows only this text here.")
    possible = await card.locator("button:enabled code").all_text_contents()
    assert possible
    assert all(json.dumps({"city": ""}).startswith(as_text(name)) for name in possible)
    assert len(possible) < await card.locator("button").count()
    await playground.column().locator(".text").focus()
    await playground.page.keyboard.press("Home")
    await expect(playground.page.locator("#announcements")).to_contain_text("%, forced by the form")


async def test_an_answer_goes_on_in_another_way_inside_its_form(playground: Playground) -> None:
    await playground.page.select_option("#form-kind", "json")
    await playground.page.fill("#form-text", json.dumps(SCHEMA))
    await playground.complete("A city: ", **CITY)
    before = await playground.text()
    marked = await playground.page.locator(".token").evaluate_all(
        "(all) => all.map((each) => each.classList.contains('forced'))"
    )
    free = marked.index(False)
    begins = "".join(await playground.page.locator(".token").all_text_contents())[: len('{"city": "')]
    await playground.page.select_option("#form-kind", "")  # the answer keeps its own form
    card = await playground.look_at(free)
    others = card.locator("button:not([aria-current])", has_text=re.compile("^[A-Za-z]+[0-9.]+ %"))
    chosen = as_text(await others.first.locator("code").text_content())
    await others.first.click()
    await playground.ended()
    sent = playground.sent[-1]
    assert sent["structured_outputs"] == {"json": SCHEMA}
    assert len(sent["resume_token_ids"]) == free + 1
    text = await playground.text()
    assert text != before
    assert text.startswith(begins + chosen)
    assert json.loads(text).keys() == {"city", "is_large"}


async def test_a_text_is_scored_and_compared(playground: Playground, service: CompletionService) -> None:
    page = playground.page
    texts = ["The capital of France is Paris.", "The capital of France is cheese."]
    await page.click("#tab-score")
    for box, text in zip(("#score-a", "#score-b"), texts, strict=True):
        await page.fill(box, text)
    await page.click("#score")
    columns = page.locator("#scores .column")
    await expect(columns).to_have_count(2)
    await expect(columns.first).to_contain_text("the less surprising one")
    await expect(columns.nth(1).locator(".surprising li").first).to_contain_text("of France is·cheese")
    assert all(float(each) <= 20 for each in await shares(columns.locator(".surprising li")))
    await expect(columns.first.locator("[data-index='0']")).to_have_class("token unscored")
    fields = {"prompt": texts[0], "max_tokens": 0, "echo": True, "logprobs": 0}
    answer = await service.complete(service.parse({"model": service.name, **fields}))
    assert answer.choices[0].logprobs is not None
    known = [logprob for logprob in answer.choices[0].logprobs.token_logprobs if logprob is not None]
    perplexity = math.exp(-sum(known) / len(known))
    await expect(columns.first).to_contain_text(f"perplexity {perplexity:.4g} over {len(known)} tokens")
    await page.fill("#score-a", "")
    await page.click("#score")
    await expect(columns).to_have_count(1)
    await expect(columns).to_have_text(re.compile("^Text B"))
    await page.fill("#score-b", "")
    await page.click("#score")
    await expect(page.locator("#scores")).to_have_text(re.compile("^There is nothing to score"))


async def shares(items: Locator) -> list[str]:
    """Return the probabilities that a list tells, in per cent."""
    return re.findall(r"([0-9.]+) %", " ".join(await items.all_text_contents()))


async def test_a_chat_goes_on_and_answers_again(playground: Playground) -> None:
    page = playground.page
    await page.click("#tab-chat")
    await playground.set(**GREEDY)
    for text in ("Hello", "And then?"):
        await page.fill("#say", text)
        await page.keyboard.press("Control+Enter")
        await playground.ended()
    await expect(page.locator("#messages .assistant")).to_have_count(2)
    roles = [message["role"] for message in playground.sent[-1]["messages"]]
    assert roles == ["user", "assistant", "user"]
    before = await page.locator("#messages .assistant").last.text_content()
    await page.click("#retry")
    await playground.ended()
    assert await page.locator("#messages .assistant").last.text_content() == before
    said = await page.locator("#messages").text_content()
    await page.click("#clear")
    await expect(page.locator("#messages li")).to_have_count(0)
    await page.click("#undo")
    await expect(page.locator("#messages")).to_have_text(said or "")
    await expect(page.locator("#undo")).to_be_enabled()  # for the answer before
    await page.click("#undo")
    await expect(page.locator("#undo")).to_be_disabled()


async def test_a_message_without_an_answer_is_sent_again(playground: Playground) -> None:
    page = playground.page
    failed = page.locator("#messages .failed")
    await page.click("#tab-chat")
    await page.fill("#say", "Hello")
    await playground.set(temperature="9")
    await page.click("#send")
    await expect(page.locator("#field-temperature")).to_be_focused()
    await expect(page.locator("#say")).to_have_value("Hello")
    await playground.set(**GREEDY)
    await page.route("**/v1/chat/completions", lambda route: route.abort())
    await page.click("#send")
    await expect(failed).to_contain_text("No answer came.")
    await expect(page.locator("#say")).to_have_value("")
    await page.unroute("**/v1/chat/completions")
    await failed.get_by_role("button", name="Try again").click()
    await expect(page.locator("#messages .assistant .said")).not_to_be_empty()
    await playground.ended()
    await expect(failed).to_have_count(0)
    said = [{"role": "user", "content": "Hello"}]
    assert [each["messages"] for each in playground.sent] == [said, said]


async def test_the_running_server_is_shown(playground: Playground, service: CompletionService) -> None:
    page = playground.page
    request = service.parse(
        {
            "model": service.name,
            "prompt": FRANCE * 20,
            "n": 2,
            "max_tokens": 2000,
            "stream": True,
            "ignore_eos": True,
        }
    )
    stream = await service.stream(request)
    await page.click("#tab-server")
    slots = page.locator("#slots li")
    await expect(slots).to_have_count(2)
    await expect(slots.first).to_contain_text("of 2000 generated")
    shared = [await slots.nth(number).locator(".run").first.get_attribute("class") for number in range(2)]
    assert shared[0] == shared[1], "the prompt's cells are the same"
    await expect(page.locator("#idle")).to_be_hidden()
    await stream.aclose()
    await expect(slots).to_have_count(0)
    await expect(page.locator("#idle")).to_be_visible()
    cost = page.locator("#cost figure")
    widths = [*(await service.state()).step_ms]
    assert await cost.locator(".axis span").all_text_contents() == widths
    top, middle, bottom = await cost.locator(".scale span").all_text_contents()
    highest = re.search(r"at most ([0-9.]+) ms$", await cost.locator("figcaption").text_content() or "")
    assert highest
    assert float(highest[1]) <= float(top.removesuffix(" ms")) == 2 * float(middle)
    assert bottom == "0"
    speed = page.locator("#speed figure")
    assert await speed.locator(".axis span").all_text_contents() == ["60 s ago", "now"]
    await expect(speed.locator(".scale span").first).to_contain_text("tokens/s")


@pytest.mark.parametrize("count", [10_000])
async def test_many_tokens_are_all_shown(playground: Playground, count: int) -> None:
    async def many(route: Route) -> None:
        events = (event_of([f" t{number}"], start=number * 10) for number in range(count))
        body = "".join(events) + "data: [DONE]\n\n"
        await route.fulfill(body=body, content_type="text/event-stream")

    await playground.page.route("**/v1/completions", many)
    await playground.complete(FRANCE)
    await expect(playground.token(count - 1)).to_have_text(f" t{count - 1}")
