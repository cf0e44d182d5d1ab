"""Any bytes over gRPC become a request of the contract, or a refusal that can be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from engine.contract.limits import Limits
from engine.contract.parsing import parse_fields, parse_request
from engine.contract.requests import DetokenizeRequest, TokenizeRequest
from engine.errors import EngineError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.serving import wire
from tests.fuzz.bytes_of import messages, mutated
from tests.fuzz.effort import examples
from tests.fuzz.outcomes import check_values, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable

READERS: dict[Any, Callable[[Any], Any]] = {
    pb.CreateCompletionRequest: lambda message: parse_request(wire.fields_of(message.request), Limits()),
    pb.StreamCompletionRequest: lambda message: parse_request(
        {**wire.fields_of(message.request), "stream": True}, Limits()
    ),
    pb.TokenizeRequest: lambda message: parse_fields(TokenizeRequest, wire.fields_of(message)),
    pb.DetokenizeRequest: lambda message: parse_fields(
        DetokenizeRequest, {"tokens": [], **wire.fields_of(message)}
    ),
}
"""Message -> what its RPC makes of it."""


def bytes_of(kind: Any) -> st.SearchStrategy[bytes]:
    """Return the bytes of a message with anything in its fields, spoilt in places, and bytes of none."""
    whole = messages(kind.DESCRIPTOR).map(lambda fields: bytes(kind(**fields).SerializeToString()))
    return mutated(whole) | mutated(st.just(VALID.SerializeToString())) | st.binary(max_size=40)


VALID = pb.CreateCompletionRequest(
    request=pb.CompletionRequest(model="fake", prompt=pb.Prompt(text="ABC"), max_tokens=2, stop=["D"])
)


@pytest.mark.parametrize("kind", READERS, ids=lambda kind: kind.DESCRIPTOR.name)
@examples(100)
@given(st.data())
def test_a_message_becomes_a_request_or_a_refusal(kind: Any, data: st.DataObject) -> None:
    try:
        message = kind.FromString(data.draw(bytes_of(kind)))
    except DecodeError:
        return  # gRPC itself answers INTERNAL
    made = outcome_of(lambda: READERS[kind](message))
    if isinstance(made, EngineError):
        assert wire.status_of(made).SerializeToString()
    else:
        check_values(made.model_dump())
