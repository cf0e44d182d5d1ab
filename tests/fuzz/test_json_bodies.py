"""Any body over HTTP becomes a request of the contract, or a refusal that can be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request

from engine.contract.limits import Limits
from engine.contract.parsing import parse_fields, parse_request
from engine.contract.requests import CompletionRequest, DetokenizeRequest, TokenizeRequest
from engine.errors import RequestTooLargeError
from engine.serving.bodies import read_json
from tests.fuzz.bytes_of import BODIES, mutated
from tests.fuzz.effort import examples
from tests.fuzz.outcomes import check_values, outcome_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Message

T = TypeVar("T")
JSON_TYPE = b"application/json"
TYPES = mutated(
    st.sampled_from(
        [
            *(JSON_TYPE, b"application/json; charset=utf-8", b"application/x+json", b"text/plain", b""),
            *(b"application/json; charset*=utf-8''utf-8", b"application/json; charset*0*=x'y'z; charset*1=8"),
            *(
                b'application/json; charset="utf-8"',
                b"application/json;;=;charset",
                b"multipart/form-data; a",
            ),
        ]
    )
)


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits")


def body_of(body: bytes, declared: bytes = JSON_TYPE, encoding: bytes = b"", limit: int = 1 << 20) -> Any:
    """Return what the door reads."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    headers = [
        (b"content-type", declared),
        (b"content-encoding", encoding),
        (b"transfer-encoding", b"chunked"),
    ]
    return now(read_json(Request({"type": "http", "headers": headers}, receive), limit))


def request_with(member: str) -> bytes:
    return f'{{"model":"m","prompt":"p",{member}}}'.encode(errors="surrogatepass")


@examples(100)
@given(BODIES)
@example(b"[" * 100_000)
@example(b'{"a":' * 10_000)
@example(request_with('"n":"' + "x" * 5000 + '"'))
@example(request_with('"n":' + "9" * 5000))
@example(request_with('"user":"\\ud800"'))
@example(request_with('"user":"\udc00"'))
@example(request_with('"stop":["a","\\udfff"]'))
@example(request_with('"prompt":["\\ud83d"]'))
@example(request_with('"logit_bias":{"\\ud800":1}'))
@example(request_with('"temperature":1e999'))
@example(request_with('"stream_options":{"\\ud800":NaN}'))
def test_a_body_becomes_a_request_or_a_refusal(body: bytes) -> None:
    made = outcome_of(lambda: parse_request(body_of(body), Limits()))
    if isinstance(made, CompletionRequest):
        check_values(made.model_dump())
        assert made.prompts


@examples(60)
@given(BODIES)
@pytest.mark.parametrize("kind", [TokenizeRequest, DetokenizeRequest])
def test_a_body_for_the_tokenizer_becomes_a_request_or_a_refusal(
    kind: type[TokenizeRequest | DetokenizeRequest], body: bytes
) -> None:
    made = outcome_of(lambda: parse_fields(kind, body_of(body)))
    if isinstance(made, kind):
        check_values(made.model_dump())


@examples(200)
@given(TYPES, mutated(st.sampled_from([b"", b"gzip", b"identity", b"identity, br"])))
@example(b"application/json; charset*0*=x'y'z; charset*=8", b"")  # email.message raises TypeError
def test_whatever_a_body_is_declared_as_it_is_read_or_refused(declared: bytes, encoding: bytes) -> None:
    made = outcome_of(lambda: body_of(b"{}", declared, encoding))
    assert made == {} or made.code == "unsupported_media_type"


@examples(60)
@given(BODIES, st.integers(0, 20))
@example(b"{}", 1)
def test_a_body_beyond_the_limit_is_refused_as_that(body: bytes, limit: int) -> None:
    made = outcome_of(lambda: body_of(body, limit=limit))
    assert isinstance(made, RequestTooLargeError) == (len(body) > limit)
