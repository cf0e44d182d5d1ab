"""What every door does with a request: admit it, run it, and put the answer together."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any, overload

from engine.contract.chat import ChatRequest
from engine.contract.parsing import parse_chat, parse_fields, parse_request
from engine.contract.requests import DetokenizeRequest, TokenizeRequest
from engine.contract.responses import Detokenized, ModelCard, ModelList, Tokenized, TokenizerInfo
from engine.contract.status import ModelVersion
from engine.errors import ModelNotFoundError, UnavailableError
from engine.process_bound import ProcessBound
from engine.service.chat_response import ChatBuilder
from engine.service.deadline import Deadline
from engine.service.faults import faults_as_internal_errors
from engine.service.forms import Forms
from engine.service.logprobs import Echo
from engine.service.record import current_door, current_record
from engine.service.request_stats import CountedRequest, RequestStats
from engine.service.response import CompletionBuilder
from engine.service.resumption import resume
from engine.service.sequences import make_prompts
from engine.service.snapshot import ServiceSnapshot
from engine.service.state import state_of
from engine.service.stream import AnswerStream
from engine.service.token_texts import TokenTexts
from engine.service.tokenizer import Tokenizer, check_ids

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    from engine.backend.base import ModelInfo
    from engine.contract.chat_responses import ChatCompletion, ChatCompletionChunk
    from engine.contract.limits import Limits
    from engine.contract.requests import CompletionRequest
    from engine.contract.responses import Completion, CompletionChunk
    from engine.contract.state import ServerState
    from engine.core.engine import Engine
    from engine.core.handle import RequestHandle
    from engine.core.sequence import Prompt
    from engine.service.tokenizer import TokenizedPrompt

log = logging.getLogger("nucleus.service")

_PATIENCE_S = 5.0
"""How long the engine may take to tell what it does: longer than any step that is well."""


class CompletionService(ProcessBound):
    """One model behind the completions contract.

    Args:
        engine: The running engine; :meth:`close` closes it.
        name: The model's name in requests and answers.
        limits: What this server allows.
        max_model_len: Most tokens of a prompt and its completion together.
        max_seconds: Most seconds that a request may take, waiting included; None for no limit.
        features: What the backend was built with.
        path: The model's file, if it was loaded from one.

    Attributes:
        token_texts: The texts of the model's tokens.
        forms: The forms that its answers can be given.
        features: As given.
        path: As given.
        requests: What became of its requests.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        name: str,
        limits: Limits,
        max_model_len: int,
        max_seconds: float | None = None,
        features: Sequence[str] = (),
        path: Path | None = None,
    ) -> None:
        self.engine = engine
        self.features = features
        self.path = path
        self._max_seconds = max_seconds
        self.name = name
        self.limits = limits
        self.max_model_len = max_model_len
        self._is_draining = False
        self._created = int(time.time())
        self._began = time.monotonic()
        self.token_texts = TokenTexts(engine.backend)
        self.forms = Forms(engine.backend)
        self.requests = RequestStats()
        self._tokenizer = Tokenizer(engine.backend, self.token_texts, max_model_len=max_model_len)

    @property
    def is_alive(self) -> bool:
        """True while requests are being served."""
        return self.engine.is_alive

    @property
    def is_ready(self) -> bool:
        """True while new requests are taken."""
        return self.engine.is_alive and not self._is_draining

    @property
    def is_draining(self) -> bool:
        """True once new requests are refused."""
        return self._is_draining

    @property
    def stalled_seconds(self) -> float:
        """Seconds since the last step ended, while somebody waits; see :class:`engine.core.engine.Engine`."""
        return self.engine.stalled_seconds

    def check_open(self) -> None:
        """Return if this service answers; see :meth:`engine.core.engine.Engine.check_open`."""
        self.engine.check_open()

    def has_room(self, waiting: int) -> bool:
        """Return True if there is room for one more request behind so many that are not submitted yet."""
        return self.engine.n_requests + waiting < self.engine.max_requests

    def drain(self) -> None:
        """Refuse new requests from now on; those that were taken go on."""
        self._is_draining = True

    def snapshot(self) -> ServiceSnapshot:
        """Return the numbers of this moment; it may be called from any thread."""
        return ServiceSnapshot.of(self.engine, self.requests, model=self.name)

    def model_info(self) -> ModelInfo:
        """Return what the model says about itself."""
        return self.engine.backend.info

    def model_version(self) -> ModelVersion:
        """Return which model this is."""
        info = self.model_info()
        return ModelVersion(id=self.name, description=info.description, bytes=info.n_bytes)

    async def state(self) -> ServerState:
        """Return what the engine does at this moment; it answers between two steps.

        Raises:
            UnavailableError: it does not answer, or is closed.
        """
        asked = asyncio.wrap_future(self.engine.overview())
        try:
            async with asyncio.timeout(_PATIENCE_S):
                overview = await asked
        except TimeoutError:
            self.check_open()
            raise UnavailableError(f"A step takes more than {_PATIENCE_S:.0f} seconds.") from None
        return state_of(overview, self.snapshot(), uptime_seconds=time.monotonic() - self._began)

    def models(self) -> ModelList:
        """List the one model that is served."""
        return ModelList(data=[self.model(self.name)])

    def model(self, name: str) -> ModelCard:
        """Describe one model.

        Raises:
            ModelNotFoundError: another one is asked for.
        """
        self.check_open()
        self._check_model(name)
        return ModelCard(
            id=self.name,
            created=self._created,
            max_model_len=self.max_model_len,
            n_vocab=self.engine.backend.info.n_vocab,
        )

    def parse(self, fields: Any) -> CompletionRequest:
        """Make a request of plain Python values; see :func:`engine.contract.parsing.parse_request`."""
        with self.requests.counting_refusals(current_door()), faults_as_internal_errors():
            return parse_request(fields, self.limits)

    def parse_chat(self, fields: Any) -> ChatRequest:
        """Make a chat's request of plain Python values; see :func:`engine.contract.parsing.parse_chat`."""
        with self.requests.counting_refusals(current_door()), faults_as_internal_errors():
            return parse_chat(fields, self.limits)

    async def tokenize(self, fields: Any) -> Tokenized:
        """Return the tokens of a text, from the plain Python values of a :class:`TokenizeRequest`.

        Raises:
            InvalidRequestError: naming the first field at fault.
            ModelNotFoundError: another model is asked for.
        """
        self.check_open()
        with faults_as_internal_errors():
            request = parse_fields(TokenizeRequest, fields)
            self._check_model(request.model)
            tokens = await self._tokenizer.tokenize(request.prompt, add_special=request.add_special_tokens)
        return Tokenized(tokens=tokens, count=len(tokens), max_model_len=self.max_model_len)

    def detokenize(self, fields: Any) -> Detokenized:
        """Return the text of tokens, from the plain Python values of a :class:`DetokenizeRequest`.

        Raises:
            InvalidRequestError: naming the first field at fault; a token may be none of this model's.
            ModelNotFoundError: another model is asked for.
        """
        self.check_open()
        with faults_as_internal_errors():
            request = parse_fields(DetokenizeRequest, fields)
            self._check_model(request.model)
            check_ids("tokens", request.tokens, self.engine.backend.info.n_vocab)
            return Detokenized(prompt=self._tokenizer.detokenize(request.tokens))

    def tokenizer_info(self) -> TokenizerInfo:
        """Return the names of the model's special tokens, and its chat template."""
        self.check_open()
        info = self.engine.backend.info
        bos, eos, pad = (
            None if token is None else self.token_texts[token]
            for token in (info.bos_token, info.eos_token, info.pad_token)
        )
        return TokenizerInfo(bos_token=bos, eos_token=eos, pad_token=pad, chat_template=info.chat_template)

    @overload
    async def complete(
        self, request: CompletionRequest, caller: Hashable = None, *, seconds: float | None = None
    ) -> Completion: ...

    @overload
    async def complete(
        self, request: ChatRequest, caller: Hashable = None, *, seconds: float | None = None
    ) -> ChatCompletion: ...

    async def complete(
        self,
        request: CompletionRequest | ChatRequest,
        caller: Hashable = None,
        *,
        seconds: float | None = None,
    ) -> Completion | ChatCompletion:
        """Answer a request as a whole, in its shape.

        Args:
            request: What is asked for.
            caller: Who asks. Callers, and the users that they name, take turns when the engine is busy.
            seconds: How long the caller waits; the server may allow less.

        Raises:
            EngineError: the request cannot be served, or has failed.
        """
        with self._counted(request) as counted, faults_as_internal_errors():
            async with self._deadline(seconds):
                builder, handle = await self._admit(request, caller, in_parts=False)
                counted.follow(handle)
                with closing(handle):
                    deltas = [delta async for delta in handle]
            answer = builder.whole(deltas)
            counted.finish()
            return answer

    @overload
    async def stream(
        self, request: CompletionRequest, caller: Hashable = None, *, seconds: float | None = None
    ) -> AnswerStream[CompletionChunk]: ...

    @overload
    async def stream(
        self, request: ChatRequest, caller: Hashable = None, *, seconds: float | None = None
    ) -> AnswerStream[ChatCompletionChunk]: ...

    async def stream(
        self,
        request: CompletionRequest | ChatRequest,
        caller: Hashable = None,
        *,
        seconds: float | None = None,
    ) -> AnswerStream[Any]:
        """Answer a request in chunks of its shape; the first is there when this returns.

        Args:
            request: What is asked for.
            caller: As in :meth:`complete`.
            seconds: As in :meth:`complete`, for the stream as a whole.

        Raises:
            EngineError: the request cannot be served, or has failed before its first chunk.
        """
        with self._counted(request) as counted, faults_as_internal_errors():
            deadline = self._deadline(seconds)
            async with deadline:
                builder, handle = await self._admit(request, caller, in_parts=True)
                counted.follow(handle)
                try:
                    first = await anext(handle)
                except BaseException:
                    handle.close()
                    raise
            return AnswerStream(builder, handle, first, deadline, counted)

    def close(self) -> None:
        """End every request and free the model; it may be closed again, and by any thread."""
        self.forms.close()
        self.engine.close()

    def stop(self) -> None:
        """Close, but wait for nothing; also from a finalizer."""
        self.forms.close()
        self.engine.stop()

    def _counted(self, request: CompletionRequest | ChatRequest) -> CountedRequest:
        is_chat = isinstance(request, ChatRequest)
        return CountedRequest(self.requests, current_door(), "chat" if is_chat else "text_completion")

    def _deadline(self, seconds: float | None) -> Deadline:
        limits = (limit for limit in (seconds, self._max_seconds) if limit is not None)
        return Deadline(min(limits, default=None))

    async def _admit(
        self, request: CompletionRequest | ChatRequest, caller: Hashable, *, in_parts: bool
    ) -> tuple[CompletionBuilder | ChatBuilder, RequestHandle]:
        record = current_record.get()
        if record is not None:
            record.request = request
        if self._is_draining:
            raise UnavailableError("The server is shutting down.")
        self.check_open()
        self._check_model(request.model)
        completion, tokenized = await self._tokenizer.tokenize_prompts(request)
        client, info = (caller, request.user), self.engine.backend.info
        asked = request.asked_form
        matcher = None if asked is None else await self.forms.matcher(asked)
        prompts = make_prompts(completion, tokenized, info, client=client, in_parts=in_parts, matcher=matcher)
        if completion.resume_token_ids:
            await resume(prompts[0], completion.resume_token_ids, self.engine.backend)
        shape = ChatBuilder if isinstance(request, ChatRequest) else CompletionBuilder
        builder = shape(
            completion,
            id=f"{shape.id_prefix}-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=self.name,
            prompts=prompts,
            echoes=self._echoes(prompts, tokenized) if completion.echo else [],
            token_texts=self.token_texts,
        )
        if request.user is not None and record is None:
            log.info("%s is for user %.80r", builder.id, request.user)
        handle = self.engine.submit(prompts)
        if record is not None:
            record.submit(builder.id, handle)
        return builder, handle

    def _echoes(self, prompts: list[Prompt], tokenized: list[TokenizedPrompt]) -> list[Echo]:
        pairs = zip(prompts, tokenized, strict=True)
        return [Echo(prompt, given.text, self._tokenizer.pieces_of(given)) for prompt, given in pairs]

    def _check_model(self, name: str | None) -> None:
        if name not in (None, self.name):
            raise ModelNotFoundError(
                f"The model '{str(name)[:80]}' does not exist; this server serves '{self.name}'.",
                param="model",
            )
