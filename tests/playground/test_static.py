"""The files of the page, without a browser."""

from __future__ import annotations

import re

import httpx2
import pytest

from engine.serving.playground import PATHS


@pytest.mark.parametrize("path", sorted(PATHS))
async def test_they_are_confined_and_not_sent_twice(url: str, path: str) -> None:
    async with httpx2.AsyncClient(base_url=url) as client:
        first = await client.get(path)
        policy = first.headers["content-security-policy"]
        again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
        posted = await client.post(path, json={})
    assert first.status_code == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert first.headers["x-content-type-options"] == "nosniff"
    assert (again.status_code, again.content) == (304, b"")
    assert posted.status_code == 405


async def test_the_page_names_nobody_else(url: str) -> None:
    async with httpx2.AsyncClient(base_url=url) as client:
        page = (await client.get("/")).text
    linked = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(linked) > 3
    assert all(link.startswith("/") for link in linked)
    assert not re.search(r"\sstyle=|\son[a-z]+=", page), "the policy forbids styles and scripts in place"
