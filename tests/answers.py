"""What holds for every answer, and how two of them are compared."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.doors import Answer

ARRAYS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""The names of tokens that add no text."""

AS_A_HARNESS_ASKS: Final = {"echo": True, "max_tokens": 1, "temperature": 0, "logprobs": 1, "seed": 1234}
"""How lm-evaluation-harness asks for the log-probabilities of texts."""


def comparable(answer: Answer) -> Answer:
    """Leave out what may differ between two answers: names, times, what was cached and what was guessed."""
    return {"choices": answer["choices"], "usage": counted(answer["usage"]), "model": answer["model"]}


def counted(usage: Answer) -> Answer:
    return {name: count for name, count in usage.items() if not name.endswith("_details")}


def joined(chunks: list[Answer]) -> list[Answer]:
    """Put the chunks of a stream together, as a client does."""
    choices: dict[int, Answer] = {}
    for chunk in chunks:
        for part in chunk["choices"]:
            new = {"text": "", "index": part["index"], "logprobs": None, "finish_reason": None}
            new |= {"token_ids": []} if "token_ids" in part else {}
            whole = choices.setdefault(part["index"], new)
            assert whole["finish_reason"] is None, "nothing may follow a finish reason"
            whole["text"] += part["text"]
            whole["finish_reason"] = part["finish_reason"]
            _add_ids(whole, part)
            if part["logprobs"] is not None:
                whole["logprobs"] = _extended(whole["logprobs"], part["logprobs"])
                assert part["finish_reason"] or not _runs_past(whole), "a token that begins behind the text"
    return [choices[index] for index in sorted(choices)]


def joined_chat(chunks: list[Answer]) -> list[Answer]:
    """Put the chunks of a chat's stream together, as a client does, and hold them to their order."""
    choices: dict[int, Answer] = {}
    for chunk in chunks:
        for part in chunk["choices"]:
            delta, index = part["delta"], part["index"]
            if index not in choices:
                assert index == len(choices), "who speaks is told in order"
                assert (delta, part["logprobs"]) == ({"role": "assistant", "content": ""}, None)
                message = {**delta, "refusal": None}
                choices[index] = {"index": index, "message": message, "logprobs": None, "finish_reason": None}
                choices[index] |= {"token_ids": []} if "token_ids" in part else {}
                continue
            whole = choices[index]
            assert whole["finish_reason"] is None, "nothing may follow a finish reason"
            assert delta.keys() == ({"content"} if part["finish_reason"] is None else set())
            whole["message"]["content"] += delta.get("content", "")
            _add_ids(whole, part)
            whole["finish_reason"] = part["finish_reason"]
            if part["logprobs"] is not None:
                tokens = (whole["logprobs"] or {"content": []})["content"] + part["logprobs"]["content"]
                whole["logprobs"] = {"content": tokens, "refusal": None}
    return [choices[index] for index in sorted(choices)]


def _add_ids(whole: Answer, part: Answer) -> None:
    """Add the token ids of a piece; those of the prompt come with the first."""
    assert ("token_ids" in whole) == ("token_ids" in part)
    if "token_ids" in part:
        assert ("prompt_token_ids" in part) <= (not whole["token_ids"]), "of the prompt, on the first piece"
        whole["token_ids"] += part["token_ids"]
        whole |= {name: part[name] for name in ("prompt_token_ids",) if name in part}


def _extended(before: Answer | None, more: Answer) -> Answer:
    assert {*more} - {"forced", "top_token_ids"} == {*ARRAYS}
    if before is None:
        return more
    assert set(more) == set(before)
    return {name: None if more[name] is None else before[name] + more[name] for name in more}


def _runs_past(choice: Answer) -> bool:
    offsets = choice["logprobs"]["text_offset"]
    return bool(offsets) and offsets[-1] >= offsets[0] + len(choice["text"])


def check_logprobs(choice: Answer, asked: int | None, *, prompt: str, echo: bool) -> None:
    """Hold the four arrays to the contract, and to the text of the choice."""
    logprobs = choice["logprobs"]
    if asked is None:
        assert logprobs is None
        return
    tokens, values, tops, offsets = (logprobs[name] for name in ARRAYS)
    assert len(tokens) == len(values) == len(offsets) > 0
    assert (values[0] is None) == echo
    assert all(-9999 <= value <= 0 for value in values[echo:])
    _check_offsets(choice, start=0 if echo else len(prompt))
    if asked == 0:
        assert tops is None
        return
    assert len(tops) == len(tokens)
    assert (tops[0] is None) == echo
    for token, value, top in zip(tokens[echo:], values[echo:], tops[echo:], strict=True):
        assert top[token] == value
        assert asked <= len(top) <= asked + 1
        best = list(top.values())[:asked]
        assert best == sorted(best, reverse=True)


def _check_offsets(choice: Answer, *, start: int) -> None:
    """Hold each token to the piece of the text at its offset.

    The bytes of a character that several tokens share belong to the last of them. A stop may have cut the
    last token's piece.
    """
    tokens, offsets, text = choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"], choice["text"]
    assert offsets[0] == start
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token, begin, end in zip(tokens, offsets, [*offsets[1:], None], strict=True):
        piece = "" if token in CONTROLS else decoder.decode(raw(token))
        told = text[begin - start : None if end is None else end - start]
        assert told == piece or (end is None and piece.startswith(told))


def raw(token: str) -> bytes:
    """Return the bytes of a token as the contract writes it."""
    if not token.startswith("bytes:"):
        return token.encode()
    return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))


def make_prompts(fields: Answer) -> list[Any]:
    """Return a request's prompts one by one."""
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return list(prompt)
    return [prompt]
