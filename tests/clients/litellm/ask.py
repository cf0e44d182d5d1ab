"""Sends requests through litellm, and writes what it made of the answers as JSON.

Arguments: the server's URL and its key. Standard input: {name: {fields, awaited}}, where `awaited` may be
left out. Standard output: {answers: {name: ...}, elsewhere: [...]}, the other hosts that were asked for.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import openai  # litellm's errors are made of its own

LOCAL = ("127.0.0.1", "::1", "localhost")
elsewhere: list[str] = []


def keep_local(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse, and remember, what would leave this machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in LOCAL:
        elsewhere.append(str(host))
        raise OSError(f"{host} is not this machine")


def ask(litellm: Any, fields: dict[str, Any]) -> Any:
    try:
        answer = litellm.text_completion(**fields)
        return [chunk.model_dump() for chunk in answer] if fields.get("stream") else answer.model_dump()
    except openai.APIStatusError as error:
        return {"raised": type(error).__name__, "status": error.status_code, "message": str(error)}


async def ask_awaited(litellm: Any, fields: dict[str, Any]) -> Any:
    answer = await litellm.atext_completion(**fields)
    return [chunk.model_dump() async for chunk in answer] if fields.get("stream") else answer.model_dump()


async def ask_all_awaited(litellm: Any, requests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: await ask_awaited(litellm, fields) for name, fields in requests.items()}


def main(base_url: str, key: str) -> None:
    sys.addaudithook(keep_local)
    import litellm  # behind the hook: it would like to fetch a list of prices

    litellm.telemetry, litellm.suppress_debug_info = False, True
    common = {"api_base": base_url, "api_key": key, "max_retries": 0}
    requests: dict[bool, dict[str, Any]] = {False: {}, True: {}}
    for name, request in json.load(sys.stdin).items():
        requests[request.get("awaited", False)][name] = common | request["fields"]
    answers = {name: ask(litellm, fields) for name, fields in requests[False].items()}
    answers |= asyncio.run(ask_all_awaited(litellm, requests[True]))
    print(json.dumps({"answers": answers, "elsewhere": elsewhere}))


main(*sys.argv[1:])
