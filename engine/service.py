"""What every door does with a request: admit it, run it, and put the answer together."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from engine.answer import Echo, TokenNames, logprobs_of
from engine.contract import Chat, StreamOptions
from engine.core.sequence import Prompt, Sequence, StopRules
from engine.core.text import whole_characters
from engine.errors import InvalidRequestError, ModelNotFoundError, UnavailableError
from engine.parsing import parse_request
from engine.refusals import shown
from engine.responses import (
    Choice,
    Completion,
    CompletionChunk,
    Detokenized,
    ModelCard,
    ModelList,
    PromptTokensDetails,
    Tokenized,
    TokenizerInfo,
    Usage,
)
from engine.sampling import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from engine.contract import CompletionRequest, DetokenizeRequest, Limits, TokenizeRequest
    from engine.core.engine import Engine, Run
    from engine.core.sequence import Delta

log = logging.getLogger("nucleus.service")

_LONG_TEXT = 4096  # characters from which tokenizing leaves the event loop
_BAN = -100.0


class _Text(NamedTuple):
    """A prompt's tokens, its text, and the bytes of a character that it ends in and that is not whole."""

    tokens: list[int]
    text: str
    half: bytes = b""


class CompletionService:
    """One model behind the completions contract.

    Args:
        engine: The running engine; :meth:`close` closes it.
        name: The model's name in requests and answers.
        limits: What this server allows.
        max_model_len: Most tokens of a prompt and its completion together.
    """

    def __init__(self, engine: Engine, *, name: str, limits: Limits, max_model_len: int) -> None:
        self.engine = engine
        self.name = name
        self.limits = limits
        self.max_model_len = max_model_len
        self._is_draining = False
        self._created = int(time.time())
        self._names = TokenNames(engine.backend)

    @property
    def is_alive(self) -> bool:
        """Tell whether requests are being served."""
        return self.engine.is_alive

    @property
    def is_ready(self) -> bool:
        """Tell whether new requests are taken."""
        return self.engine.is_alive and not self._is_draining

    def drain(self) -> None:
        """Refuse new requests from now on; those that were taken go on."""
        self._is_draining = True

    def models(self) -> ModelList:
        """List the one model that is served."""
        card = ModelCard(
            id=self.name,
            created=self._created,
            max_model_len=self.max_model_len,
            n_vocab=self.engine.backend.info.n_vocab,
        )
        return ModelList(data=[card])

    def parse(self, fields: Any) -> CompletionRequest:
        """Make a request of plain Python values; see :func:`engine.parsing.parse_request`."""
        return parse_request(fields, self.limits)

    async def tokenize(self, request: TokenizeRequest) -> Tokenized:
        """Return the tokens of a text.

        Raises:
            ModelNotFoundError: another model is asked for.
        """
        self._check_model(request.model)
        tokens = await self._tokens_of(request.prompt, add_special=request.add_special_tokens)
        return Tokenized(tokens=tokens, count=len(tokens), max_model_len=self.max_model_len)

    def detokenize(self, request: DetokenizeRequest) -> Detokenized:
        """Return the text of tokens.

        Raises:
            ModelNotFoundError: another model is asked for.
            InvalidRequestError: a token is none of this model's.
        """
        self._check_model(request.model)
        self._check_ids("tokens", request.tokens)
        text = b"".join(map(self._names.raw, request.tokens))
        return Detokenized(prompt=text.decode("utf-8", "replace"))

    def tokenizer_info(self) -> TokenizerInfo:
        """Tell what the model's vocabulary calls the tokens that stand for something."""
        info = self.engine.backend.info
        bos, eos, pad = (
            None if token is None else self._names[token]
            for token in (info.bos_token, info.eos_token, info.pad_token)
        )
        return TokenizerInfo(bos_token=bos, eos_token=eos, pad_token=pad, chat_template=info.chat_template)

    async def complete(self, request: CompletionRequest, caller: Hashable = None) -> Completion:
        """Answer a request as a whole.

        Args:
            request: What is asked for.
            caller: Who asks. Callers, and the users that they name, take turns when the engine is busy.

        Raises:
            EngineError: the request cannot be served, or has failed.
        """
        head, run = await self._admit(request, caller, in_parts=False)
        with closing(run):
            deltas = sorted([delta async for delta in run], key=attrgetter("choice"))  # one for each
        return Completion(
            id=head.id,
            created=head.created,
            model=head.model,
            choices=[self.choice(delta, request) for delta in _best([*map(head.begin, deltas)], request)],
            usage=head.usage(sum(delta.n_tokens for delta in deltas)),
        )

    async def stream(self, request: CompletionRequest, caller: Hashable = None) -> CompletionStream:
        """Answer a request in chunks; the first is there when this returns.

        Args:
            request: What is asked for.
            caller: As in :meth:`complete`.

        Raises:
            EngineError: the request cannot be served, or has failed before its first chunk.
        """
        head, run = await self._admit(request, caller, in_parts=True)
        try:
            first = await anext(run)
        except BaseException:
            run.close()
            raise
        return CompletionStream(self, request, head, run, first)

    def close(self) -> None:
        """End every request and free the model."""
        self.engine.close()

    def choice(self, delta: Delta, request: CompletionRequest) -> Choice:
        """Write a choice, or a part of one, as the contract has it."""
        wanted = request.logprobs
        return Choice(
            text=delta.text,
            index=delta.choice,
            logprobs=None if wanted is None else logprobs_of(delta.scores, wanted, self._names),
            finish_reason=delta.finish_reason,
        )

    async def _admit(
        self, request: CompletionRequest, caller: Hashable, *, in_parts: bool
    ) -> tuple[_Head, Run]:
        if self._is_draining:
            raise UnavailableError("The server is shutting down.")
        self._check_model(request.model)
        texts = await self._texts(request)
        prompts = self._prompts(request, texts, (caller, request.user), in_parts=in_parts)
        echoes = [Echo(prompt, text.text, self._names) for prompt, text in zip(prompts, texts, strict=True)]
        head = _Head(
            id=f"cmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=self.name,
            prompts=prompts,
            echoes=echoes if request.echo else [],
            candidates=request.candidates,
        )
        if request.user is not None:
            log.info("%s is for user %.80r", head.id, request.user)
        return head, self.engine.submit(prompts)

    def _check_model(self, name: str | None) -> None:
        if name not in (None, self.name):
            raise ModelNotFoundError(
                f"The model '{str(name)[:80]}' does not exist; this server serves '{self.name}'.",
                param="model",
            )

    async def _texts(self, request: CompletionRequest) -> list[_Text]:
        """Return each prompt's text; none is too long for the model."""
        texts = []
        for given in request.prompts:
            if isinstance(given, list):
                self._check_length(given, request)  # before each of a million ids is looked at
            text = await self._tokenize(given)
            if request.suffix:
                text = _Text(await self._around_gap(given, request.suffix), text.text)
            self._check_length(text.tokens, request)
            texts.append(text)
        return texts

    def _prompts(
        self,
        request: CompletionRequest,
        texts: list[_Text],
        client: Hashable,
        *,
        in_parts: bool,
    ) -> list[Prompt]:
        """Make a prompt of each text, and a sequence for each candidate."""
        owner, params = object(), _sampling_params(request, _seed_of(request), self._logit_bias(request))
        stop = self._stop_rules(request)
        repeats = request.seed is not None or (request.echo and request.logprobs is not None)
        prompts = []
        for number, (tokens, text, half) in enumerate(texts):
            prompt = Prompt(owner, tokens, len(text), half, client, repeats=repeats, in_parts=in_parts)
            if request.echo:
                prompt.n_alternatives = request.logprobs
            for choice in range(request.candidates):
                # Streams are numbered so that neither n nor another prompt moves a choice to other numbers.
                stream = (number << 16) | choice
                index = number * request.candidates + choice
                sequence = Sequence(
                    prompt, index, params, max_tokens=request.max_tokens, stop=stop, stream=stream
                )
                prompt.sequences.append(sequence)
            prompts.append(prompt)
        return prompts

    async def _tokenize(self, given: str | list[int] | Chat) -> _Text:
        backend = self.engine.backend
        if isinstance(given, str):
            return _Text(await self._tokenize_text(given), given)
        if isinstance(given, Chat):
            text = backend.apply_chat_template([(m.role, m.content) for m in given.messages])
            if text is None:
                raise InvalidRequestError(
                    "'messages' needs a chat template that llama.cpp knows, and this model has none.",
                    param="messages",
                )
            return _Text(await self._tokenize_text(text), text)
        self._check_ids("prompt", given)
        return _Text(given, *whole_characters(b"".join(map(backend.piece, given))))

    async def _around_gap(self, before: str | list[int] | Chat, suffix: str) -> list[int]:
        """Return the prompt that asks a model to fill the gap between two texts, the middle last."""
        backend = self.engine.backend
        gap = backend.info.gap_tokens
        if gap is None:
            raise InvalidRequestError(
                "'suffix' needs a model with fill-in-the-middle tokens, and this one has none.",
                param="suffix",
            )
        if isinstance(before, str):
            before = await self._tokens_of(before, add_special=False)
        after = await self._tokens_of(suffix, add_special=False)
        start = backend.tokenize("")  # what the model begins every text with
        return [*start, gap.prefix, *before, gap.suffix, *after, gap.middle]

    async def _tokens_of(self, text: str, *, add_special: bool) -> list[int]:
        tokenize = self.engine.backend.tokenize
        if len(text) < _LONG_TEXT:
            return tokenize(text, add_special=add_special)
        return await asyncio.to_thread(tokenize, text, add_special=add_special)

    async def _tokenize_text(self, text: str) -> list[int]:
        """Return the tokens of a prompt; there is at least one."""
        backend = self.engine.backend
        if tokens := await self._tokens_of(text, add_special=True):
            return tokens
        start = backend.info.bos_token if backend.info.bos_token is not None else backend.info.eos_token
        if start is None:
            raise InvalidRequestError(
                "'prompt' should not be empty: this model has no token to start a text with.", param="prompt"
            )
        return [start]

    def _check_length(self, tokens: list[int], request: CompletionRequest) -> None:
        total = len(tokens) + request.max_tokens
        if total > self.max_model_len:
            raise InvalidRequestError(
                f"'max_tokens' and the prompt should be at most {self.max_model_len} tokens together, "
                f"not {total} ({len(tokens)} of the prompt and {request.max_tokens} to generate).",
                param="max_tokens",
            )

    def _stop_rules(self, request: CompletionRequest) -> StopRules:
        self._check_ids("stop_token_ids", request.stop_token_ids)
        ends = frozenset() if request.ignore_eos else self.engine.backend.info.eog_tokens
        return StopRules(
            ends.union(request.stop_token_ids),
            tuple(request.stop),
            keep=request.include_stop_str_in_output,
            min_tokens=request.min_tokens,
        )

    def _check_ids(self, field: str, ids: Iterable[int]) -> None:
        n_vocab = self.engine.backend.info.n_vocab
        for token in ids:
            if not 0 <= token < n_vocab:
                raise InvalidRequestError(
                    f"'{field}' should hold token ids from 0 to {n_vocab - 1}, not {shown(token)}.",
                    param=field,
                )

    def _logit_bias(self, request: CompletionRequest) -> dict[int, float]:
        self._check_ids("logit_bias", request.logit_bias)
        self._check_some_token_is_left(request)
        return {token: -float("inf") if bias == _BAN else bias for token, bias in request.logit_bias.items()}

    def _check_some_token_is_left(self, request: CompletionRequest) -> None:
        banned = {token for token, bias in request.logit_bias.items() if bias == _BAN}
        if banned and request.min_tokens:
            banned |= self._stop_rules(request).tokens
        if len(banned) == self.engine.backend.info.n_vocab:
            raise InvalidRequestError(
                f"'logit_bias' should leave a token that can be drawn; all {len(banned)} are banned.",
                param="logit_bias",
            )


class CompletionStream:
    """The chunks of one answer: an asynchronous iterator that must be closed."""

    def __init__(
        self, service: CompletionService, request: CompletionRequest, head: _Head, run: Run, first: Delta
    ) -> None:
        self._service = service
        self._request = request
        self._head = head
        self._run = run
        self._first: Delta | None = first
        self._n_tokens = 0
        self._begun: set[int] = set()  # the choices of which something has been told
        options = request.stream_options or StreamOptions()
        self.includes_usage = options.include_usage
        self._owes_usage = self.includes_usage
        self._tells_usage_always = self.includes_usage and options.continuous_usage_stats

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CompletionChunk:
        """Return the next chunk.

        Raises:
            EngineError: the request has failed; no chunk follows.
        """
        try:
            delta = await self._next_delta()
        except StopAsyncIteration:
            if not self._owes_usage:
                raise
            self._owes_usage = False
            return self._chunk([], self._head.usage(self._n_tokens))
        self._n_tokens += delta.n_tokens
        if delta.choice not in self._begun:
            self._begun.add(delta.choice)
            delta = self._head.begin(delta)
        usage = self._head.usage(self._n_tokens) if self._tells_usage_always else None
        return self._chunk([self._service.choice(delta, self._request)], usage)

    async def aclose(self) -> None:
        """Stop the work within one step, unless it is done."""
        self._run.close()

    async def _next_delta(self) -> Delta:
        first, self._first = self._first, None
        return first if first is not None else await anext(self._run)

    def _chunk(self, choices: list[Choice], usage: Usage | None = None) -> CompletionChunk:
        head = self._head
        return CompletionChunk(
            id=head.id, created=head.created, model=head.model, choices=choices, usage=usage
        )


@dataclass(frozen=True, slots=True)
class _Head:
    """What every part of one answer repeats."""

    id: str
    created: int
    model: str
    prompts: list[Prompt]
    echoes: list[Echo]
    """What goes before the choices of each prompt, if anything does."""
    candidates: int
    """How many choices each prompt has, in the order of their numbers."""

    def begin(self, delta: Delta) -> Delta:
        """Complete the first delta of a choice."""
        return self.echoes[delta.choice // self.candidates].before(delta) if self.echoes else delta

    def usage(self, completion_tokens: int) -> Usage:
        prompt_tokens = sum(len(prompt.tokens) for prompt in self.prompts)
        cached_tokens = sum(prompt.n_cached for prompt in self.prompts)
        return Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=cached_tokens),
        )


def _best(deltas: list[Delta], request: CompletionRequest) -> list[Delta]:
    """Of each prompt's candidates, in order, return the ``n`` of the highest mean logprob, best first."""
    if request.candidates == request.n:
        return deltas
    best: list[Delta] = []
    for start in range(0, len(deltas), request.candidates):
        candidates = deltas[start : start + request.candidates]
        candidates.sort(key=lambda delta: delta.logprob / max(delta.n_tokens, 1), reverse=True)
        best += candidates[: request.n]
    return [delta._replace(choice=index) for index, delta in enumerate(best)]


def _seed_of(request: CompletionRequest) -> int:
    """Return the request's seed as 64 bits, or fresh ones from the operating system."""
    return secrets.randbits(64) if request.seed is None else request.seed & 0xFFFF_FFFF_FFFF_FFFF


def _sampling_params(request: CompletionRequest, seed: int, bias: dict[int, float]) -> SamplingParams:
    return SamplingParams(
        seed=seed,
        temperature=request.temperature,
        top_p=request.top_p or sys.float_info.min,  # 0 keeps the most probable token alone
        top_k=max(request.top_k, 0),
        min_p=request.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repetition_penalty=request.repetition_penalty,
        logit_bias=bias,
        logprobs=0 if request.logprobs is None and request.candidates > request.n else request.logprobs,
    )
