"""The page in words of its users."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin, urlsplit

from playwright.async_api import expect

if TYPE_CHECKING:
    from playwright.async_api import ConsoleMessage, Error, Locator, Page, Request

LONGEST_MS = 60_000


class Playground:
    """What a person does with the page, and what they see.

    Attributes:
        page: The browser's page.
        sent: The bodies of the requests for answers, in order.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sent: list[dict[str, Any]] = []
        self._hosts: set[str] = set()
        self._errors: list[str] = []
        page.on("request", self._note)
        page.on("console", self._hear)
        page.on("pageerror", self._fail)

    def close(self) -> None:
        """Leave the page to another one."""
        self.page.remove_listener("request", self._note)
        self.page.remove_listener("console", self._hear)
        self.page.remove_listener("pageerror", self._fail)

    def _note(self, request: Request) -> None:
        self._hosts.add(urlsplit(request.url).netloc)
        if request.method == "POST":
            self.sent.append(json.loads(request.post_data or "{}"))

    def _hear(self, message: ConsoleMessage) -> None:
        # The browser itself writes a line for each status from 400 on.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self._errors.append(message.text)

    def _fail(self, error: Error) -> None:
        self._errors.append(str(error))

    def check(self) -> None:
        """Fail if the page complained of something, or asked anybody else than its own server."""
        assert self._errors == []
        assert len(self._hosts) == 1

    async def open(self, url: str) -> None:
        """Load the page as a new visitor, who typed nothing before."""
        await self.page.goto(urljoin(url, "/playground/icon.svg"))
        await self.page.evaluate("sessionStorage.clear()")
        await self.page.goto(url)
        await self.page.wait_for_selector("body[data-ready]")

    async def set(self, **fields: str) -> None:
        """Type values of fields, also of those that are folded away."""
        await self.page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        for name, value in fields.items():
            await self.page.fill(f"#field-{name}", value)

    async def complete(self, prompt: str | None = None, **fields: str) -> None:
        """Complete a prompt, and wait for the whole answer."""
        if prompt is not None:
            await self.page.fill("#prompt", prompt)
        await self.set(**fields)
        await self.page.click("#complete")
        await self.ended()

    async def ended(self) -> None:
        """Wait until the answer is whole, or has failed, and all of it is drawn."""
        await expect(self.page.locator("body")).not_to_have_class("running", timeout=LONGEST_MS)
        await self.page.evaluate("new Promise((resolve) => requestAnimationFrame(resolve))")

    def column(self, number: int = 0) -> Locator:
        return self.page.locator("#columns .column").nth(number)

    async def text(self, number: int = 0) -> str:
        """Return the text of a column."""
        return await self.column(number).locator(".text").text_content() or ""

    def token(self, index: int, column: int = 0) -> Locator:
        return self.column(column).locator(f"[data-index='{index}']")

    async def look_at(self, index: int, column: int = 0) -> Locator:
        """Hover over a token; return the card with its alternatives."""
        await self.token(index, column).hover()
        card = self.page.locator("#inspector")
        await expect(card).to_be_visible()
        return card

    async def alert(self) -> str:
        """Wait for what the page complains of, and return it."""
        shown = self.page.locator("#alert")
        await expect(shown).to_be_visible(timeout=LONGEST_MS)
        return await shown.text_content() or ""

    async def copied(self, language: str) -> str:
        """Copy the request, and return what the page shows of it."""
        told = self.page.locator("#announcements")
        await told.evaluate("(each) => each.replaceChildren()")
        await self.page.get_by_role("button", name=language).click()
        await expect(told).to_have_text(f"Copied as {language}.")
        return await self.page.input_value("#snippet")

    async def evaluate(self, script: str) -> Any:
        return cast("Any", await self.page.evaluate(script))


def words_of(command: str) -> list[str]:
    """Return the words that a shell makes of a command of several lines."""
    return shlex.split(command.replace("\\\n", " "), comments=False)
