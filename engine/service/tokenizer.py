"""From what a request gives, in whichever form, to tokens that the model knows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from engine.contract.conversation import Chat
from engine.contract.fields import Gap
from engine.contract.messages import abbreviate
from engine.core.text import whole_characters
from engine.errors import ContextLengthError, InvalidRequestError
from engine.service.chat_prompt import chat_prompt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.backend.base import Backend
    from engine.contract.chat import ChatRequest
    from engine.contract.fields import GivenPrompt, Wanted
    from engine.contract.requests import CompletionRequest
    from engine.service.token_texts import TokenTexts

_LONG_TEXT = 4096  # characters from which tokenizing leaves the event loop


class TokenizedPrompt(NamedTuple):
    """A prompt in the model's tokens."""

    tokens: list[int]
    text: str
    half: bytes = b""
    """The bytes of a character that it ends in and that is not whole."""
    is_text: bool = False
    """Whether it was given as text, which names its special tokens but for those that the model adds."""


class Tokenizer:
    """What makes tokens for one model, or says which field stands in the way.

    Args:
        backend: The model.
        texts: The texts of its tokens.
        max_model_len: Most tokens of a prompt and its completion together.
    """

    def __init__(self, backend: Backend, texts: TokenTexts, *, max_model_len: int) -> None:
        self._backend = backend
        self._texts = texts
        self._max_model_len = max_model_len

    async def tokenize_prompts(
        self, request: CompletionRequest | ChatRequest
    ) -> tuple[CompletionRequest, list[TokenizedPrompt]]:
        """Return the completion that a request asks for, and each of its prompts.

        Raises:
            InvalidRequestError: one is too long, or the model has no tokens for it.
        """
        prompts = []
        for given in request.prompts:
            prompt = await self._prompt(given, request.wanted)
            self._check_length(prompt.tokens, request.wanted)
            prompts.append(prompt)
        longest = max(len(prompt.tokens) for prompt in prompts)
        return request.completion(self._max_model_len - longest), prompts

    async def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        """Return a text's tokens, with those that the model puts round a text where they are asked for."""
        tokenize = self._backend.tokenize
        if len(text) < _LONG_TEXT:
            return tokenize(text, add_special=add_special)
        return await asyncio.to_thread(tokenize, text, add_special=add_special)

    def detokenize(self, tokens: list[int]) -> str:
        """Return the text of which these are the tokens; it names special tokens."""
        return b"".join(self._texts.named(tokens)).decode("utf-8", "replace")

    def pieces_of(self, prompt: TokenizedPrompt) -> list[bytes]:
        """Return the bytes that each token of a prompt has of its text."""
        if not prompt.is_text:
            return self._texts.unnamed(prompt.tokens)
        pieces, info = self._texts.named(prompt.tokens), self._backend.info
        added = [*range(info.n_before), *range(len(pieces) - info.n_behind, len(pieces))]
        return [b"" if i in added else piece for i, piece in enumerate(pieces)]

    async def _prompt(self, given: GivenPrompt, wanted: Wanted) -> TokenizedPrompt:
        if isinstance(given, Gap):
            prompt = await self._prompt(given.before, wanted)
            return TokenizedPrompt(await self._around_gap(given), prompt.text)
        if isinstance(given, list):
            self._check_length(given, wanted)  # before each of a million ids is looked at
            check_ids("prompt", given, self._backend.info.n_vocab)
            return TokenizedPrompt(given, *whole_characters(b"".join(self._texts.unnamed(given))))
        text = chat_prompt(self._backend, given) if isinstance(given, Chat) else given
        return TokenizedPrompt(await self._prompt_tokens(text), text, is_text=True)

    async def _prompt_tokens(self, text: str) -> list[int]:
        """Return the tokens of a prompt; there is at least one."""
        if tokens := await self.tokenize(text, add_special=True):
            return tokens
        info = self._backend.info
        start = info.bos_token if info.bos_token is not None else info.eos_token
        if start is None:
            raise InvalidRequestError(
                "'prompt' should not be empty: this model has no token to start a text with.", param="prompt"
            )
        return [start]

    async def _around_gap(self, given: Gap) -> list[int]:
        """Return the prompt that asks a model to fill the gap between two texts, the middle last."""
        gap = self._backend.info.gap_tokens
        if gap is None:
            raise InvalidRequestError(
                "'suffix' needs a model with fill-in-the-middle tokens, and this one has none.",
                param="suffix",
            )
        before = given.before
        if isinstance(before, str):
            before = await self.tokenize(before, add_special=False)
        behind = await self.tokenize(given.behind, add_special=False)
        start = self._backend.tokenize("")  # what the model begins every text with
        return [*start, gap.prefix, *before, gap.suffix, *behind, gap.middle]

    def _check_length(self, tokens: list[int], wanted: Wanted) -> None:
        total, most = len(tokens) + wanted.tokens, self._max_model_len
        if total > most:
            raise ContextLengthError(
                f"'{wanted.field}' is too much: prompt and answer should be at most {most} tokens together, "
                f"not {total} ({len(tokens)} of the prompt and {wanted.tokens} to generate).",
                param=wanted.field,
            )


def check_ids(field: str, ids: Iterable[int], n_vocab: int) -> None:
    """Refuse token ids that the model does not have.

    Raises:
        InvalidRequestError: naming the field, the limits and the id.
    """
    for token in ids:
        if not 0 <= token < n_vocab:
            raise InvalidRequestError(
                f"'{field}' should hold token ids from 0 to {n_vocab - 1}, not {abbreviate(token)}.",
                param=field,
            )
