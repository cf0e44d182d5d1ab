"""vLLM's gRPC service, as the gateway SMG asks it: a translation onto the contract, and nothing else.

It is the second service of the gRPC door: what every call passes first, its limits, its key, its line in the
log and its errors, is the same. Its messages come from the package ``smg-grpc-proto``, which
``nucleus-engine[smg]`` installs; :mod:`engine.serving.grpc` offers it where that is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from smg_grpc_proto import vllm_engine_pb2 as pb
from smg_grpc_proto import vllm_engine_pb2_grpc as pb_grpc
from smg_grpc_proto.generated import common_pb2 as common
from typing_extensions import override

from engine.errors import InvalidRequestError, RouteNotFoundError
from engine.models.tokenizer_json import NoTokenizerError, tokenizer_files
from engine.serving import vllm_wire
from engine.serving.aborting import AbortedError, Running
from engine.serving.gateway import load_of
from engine.serving.grpc_gate import caller
from engine.serving.vllm_wire import Answers, Asked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Hashable

    import grpc

    from engine.contract.requests import CompletionRequest
    from engine.service.service import CompletionService
    from engine.serving.aborting import Abortable

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE_NAME: Final[str] = pb.DESCRIPTOR.services_by_name["VllmEngine"].full_name
GENERATE: Final = f"/{SERVICE_NAME}/Generate"
"""The method that asks for an answer."""
_WHY_ABSENT: Final = {
    "SubscribeKvEvents": "what the cache holds is not told",
    "Embed": "this server generates text",
    "FlushCache": "prefixes leave the cache when others need their place",
    "StartProfile": "/metrics has the times of steps",
    "StopProfile": "/metrics has the times of steps",
}
_PART_BYTES: Final = 64 << 10
"""Of a message that carries a part of a tokenizer."""


def add_vllm_service(service: CompletionService, server: grpc.aio.Server) -> None:
    """Offer the service on a gRPC server."""
    pb_grpc.add_VllmEngineServicer_to_server(VllmEngine(service), server)


class VllmEngine(pb_grpc.VllmEngineServicer):  # type: ignore[misc]
    """Answers with the service behind the other doors.

    Args:
        service: What answers.
    """

    def __init__(self, service: CompletionService) -> None:
        self._service = service
        self._running = Running()
        self._began = time.monotonic()
        self._bundle: bytes | None = None
        self._bundling = asyncio.Lock()

    @override
    async def Generate(
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncIterator[pb.GenerateResponse]:
        with self._service.requests.counting_refusals("grpc"):
            asked = Asked(request, self._service.limits)
            prompt = await self._prompt(request)
        room = max(self._service.max_model_len - len(prompt), 1)
        fields = vllm_wire.fields_of(request, asked, prompt=prompt, room=room)
        parsed = self._service.parse({"model": self._service.name, **fields})
        answers = Answers(asked, n=parsed.n, n_prompt=len(prompt))
        with self._running.entered(request.request_id) as running:
            try:
                if parsed.stream:
                    streaming = self._stream(parsed, caller(context), running, answers)
                    async with aclosing(streaming) as messages:
                        async for message in messages:
                            yield message
                else:
                    async with running.waiting():
                        completion = await self._service.complete(parsed, caller(context))
                    for choice in completion.choices:
                        yield answers.whole(choice, completion.usage)
            except AbortedError:
                for message in answers.aborted():
                    yield message

    async def _stream(
        self, parsed: CompletionRequest, who: Hashable, running: Abortable, answers: Answers
    ) -> AsyncGenerator[pb.GenerateResponse, None]:
        async with running.waiting():
            streaming = await self._service.stream(parsed, who)
        async with aclosing(streaming) as stream:
            while True:
                async with running.waiting():
                    chunk = await anext(stream, None)
                if chunk is None:
                    return
                for choice in chunk.choices:
                    for message in answers.chunk(choice, chunk.usage):
                        yield message

    async def _prompt(self, request: pb.GenerateRequest) -> list[int]:
        form = request.WhichOneof("input")
        if form == "tokenized":
            return list(request.tokenized.input_ids)
        if form == "text":
            return (await self._service.tokenize({"prompt": request.text})).tokens
        raise InvalidRequestError("'input' should be 'tokenized' or 'text', not nothing.", param="input")

    @override
    async def Abort(self, request: pb.AbortRequest, context: Context) -> pb.AbortResponse:
        for name in request.request_ids:
            self._running.abort(name)
        return pb.AbortResponse()

    @override
    async def HealthCheck(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:
        if self._service.is_ready:
            return pb.HealthCheckResponse(healthy=True, message="ready")
        state = "shutting down" if self._service.is_draining else "the engine has ended"
        return pb.HealthCheckResponse(healthy=False, message=state)

    @override
    async def GetModelInfo(
        self, request: pb.GetModelInfoRequest, context: Context
    ) -> pb.GetModelInfoResponse:
        self._service.check_open()
        info, name = self._service.model_info(), self._service.name
        return pb.GetModelInfoResponse(
            model_path=name,
            served_model_name=name,
            is_generation=True,
            max_context_length=self._service.max_model_len,
            max_req_input_len=self._service.max_model_len,
            vocab_size=info.n_vocab,
            eos_token_ids=sorted(info.eog_tokens),
            bos_token_id=_id(info.bos_token),
            pad_token_id=_id(info.pad_token),
        )

    @override
    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Context
    ) -> pb.GetServerInfoResponse:
        self._service.check_open()
        now = self._service.snapshot()
        return pb.GetServerInfoResponse(
            active_requests=now.requests_unfinished,
            uptime_seconds=time.monotonic() - self._began,
            server_type="nucleus",
            data_parallel_size=1,
            max_num_seqs=now.slots,
            constrained_decoding_start="first_token",
        )

    @override
    async def GetLoads(self, request: pb.GetLoadsRequest, context: Context) -> pb.GetLoadsResponse:
        self._service.check_open()
        return pb.GetLoadsResponse(**load_of(self._service.snapshot()).model_dump())

    @override
    async def GetTokenizer(
        self, request: common.GetTokenizerRequest, context: Context
    ) -> AsyncIterator[common.GetTokenizerChunk]:
        data = await self._tokenizer()
        digest = hashlib.sha256(data).hexdigest()
        for start in range(0, len(data), _PART_BYTES):
            is_last = start + _PART_BYTES >= len(data)
            part = data[start : start + _PART_BYTES]
            yield common.GetTokenizerChunk(data=part, sha256=digest if is_last else "")

    async def _tokenizer(self) -> bytes:
        """Return the archive with the tokenizer's files; it is made once, beside the event loop."""
        async with self._bundling:
            if self._bundle is None:
                self._bundle = await asyncio.to_thread(self._make_tokenizer)
            return self._bundle

    def _make_tokenizer(self) -> bytes:
        path = self._service.path
        if path is None:
            raise RouteNotFoundError("GetTokenizer is not supported: the model was not loaded from a file.")
        try:
            files = tokenizer_files(path, self._service.model_info())
        except NoTokenizerError as error:
            raise RouteNotFoundError(f"GetTokenizer is not supported. {error}") from None
        return vllm_wire.bundle(files)


ABSENT: Final = {
    f"/{SERVICE_NAME}/{method.name}": _WHY_ABSENT.get(method.name, "it came after this server")
    for method in pb.DESCRIPTOR.services_by_name["VllmEngine"].methods
    if method.name not in vars(VllmEngine)
}
"""Methods that nothing here is behind -> why."""


def _id(token: int | None) -> int:
    """Return a token's id; -1: the model has none."""
    return -1 if token is None else token
