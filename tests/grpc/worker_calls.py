"""How the tests call the service for gateways, and read what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from smg_grpc_proto import vllm_engine_pb2 as worker_pb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.service.service import CompletionService

FRANCE_TEXT = "The capital of France is"


class Told(NamedTuple):
    """A choice, read from one message or from the pieces of a stream."""

    tokens: list[int]
    logprobs: list[float]
    top: list[dict[int, float]]
    reason: str
    complete: Any
    """The message that says that it has ended."""


def france(service: CompletionService) -> list[int]:
    return service.engine.backend.tokenize(FRANCE_TEXT)


def request(tokens: Iterable[int], *, stream: bool = False, request_id: str = "", **params: Any) -> Any:
    return worker_pb.GenerateRequest(
        request_id=request_id,
        tokenized=worker_pb.TokenizedInput(input_ids=tokens),
        sampling_params=worker_pb.SamplingParams(**params),
        stream=stream,
    )


async def choices(call: Any) -> list[Told]:
    """Return the choices of an answer, in their order; the pieces of a stream must make up its end."""
    pieces: dict[int, list[Any]] = {}
    told: dict[int, Told] = {}
    async for message in call:
        kind = message.WhichOneof("response")
        part = getattr(message, kind)
        assert part.index not in told, "nothing follows the end"
        if kind == "chunk":
            pieces.setdefault(part.index, []).append(part)
            assert part.completion_tokens == len(part.token_ids)
            continue
        told[part.index] = _told(part, part.output_ids)
        for name in ("token_ids", "output_logprobs"):
            _check_pieces(pieces.get(part.index, []), part, name)
    return [told[index] for index in sorted(told)]


def _told(part: Any, tokens: Iterable[int]) -> Told:
    scores = part.output_logprobs
    tops = [dict(zip(top.token_ids, top.values, strict=True)) for top in scores.top_logprobs]
    return Told([*tokens], [*scores.token_logprobs], tops, part.finish_reason, part)


def _check_pieces(pieces: list[Any], part: Any, name: str) -> None:
    if not pieces:
        return
    if name == "token_ids":
        assert [token for piece in pieces for token in piece.token_ids] == list(part.output_ids)
    else:
        joined = [value for piece in pieces for value in piece.output_logprobs.token_logprobs]
        assert joined == list(part.output_logprobs.token_logprobs)
    assert not any(piece.HasField("input_logprobs") for piece in pieces[1:])


def short(number: float) -> float:
    """Return a number as it comes out of 32 bits."""
    return float(np.float32(number))
