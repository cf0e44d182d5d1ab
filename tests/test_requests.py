"""A request of any kind means the same at every door: equal parameters and answers, or the same refusal."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from benchmarks.client import CallError
from engine.contract.requests import CompletionRequest
from engine.pb.nucleus.v1 import completions_pb2 as pb
from tests.answers import comparable, counted, joined
from tests.core.fake_backend import N_VOCAB
from tests.doors import DOORS, GrpcDoor, HttpDoor
from tests.quick import AnyText, engine_of, service_of
from tests.requests_strategy import Generated, Vocabulary, fields_of, requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from google.protobuf.descriptor import FieldDescriptor

    from engine.service.service import CompletionService
    from tests.doors import Answer, Door

FAKE = Vocabulary(n_vocab=N_VOCAB, max_model_len=256, most_tokens=800)
REAL = Vocabulary(n_vocab=49152, max_model_len=8192, most_tokens=16)
GENERATED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
async def quick_doors() -> AsyncIterator[list[Door]]:
    """The doors, each with a service of its own, of one engine whose model costs no time."""
    with closing(engine_of(AnyText(endless=False))) as engine:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(make(service_of(engine))) for make in DOORS]


@pytest.fixture(scope="module")
async def real_doors(service: CompletionService) -> AsyncIterator[list[Door]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(make(service)) for make in DOORS]


@settings(GENERATED, max_examples=200)
@given(made=requests(FAKE))
async def test_a_request_has_the_same_parameters_and_the_same_outcome_everywhere(
    quick_doors: list[Door], made: Generated
) -> None:
    carrying = [door for door in quick_doors if carries(door, made.fields)]
    with ExitStack() as stack:
        parsed = [stack.enter_context(parsed_by(door.service)) for door in carrying]
        outcomes = await asyncio.gather(*(outcome(door, made) for door in carrying))
    assert all(each == parsed[0] for each in parsed)
    assert all(each == outcomes[0] for each in outcomes)


@contextmanager
def parsed_by(service: CompletionService) -> Iterator[list[CompletionRequest]]:
    """Note the requests that a service makes of what a door hands it."""
    made: list[CompletionRequest] = []
    parse = service.parse

    def note(fields: Any) -> CompletionRequest:
        made.append(parse(fields))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "parse", note)
        yield made


@settings(GENERATED, max_examples=15)
@given(made=requests(REAL))
async def test_a_real_model_answers_alike_everywhere(real_doors: list[Door], made: Generated) -> None:
    carrying = [door for door in real_doors if carries(door, made.fields)]
    outcomes = await asyncio.gather(*(outcome(door, made) for door in carrying))
    assert all(each == outcomes[0] for each in outcomes)


async def outcome(door: Door, made: Generated) -> object:
    """Return the answer of a batch_invariant request, its shape otherwise, or the error's code and field."""
    fields = made.fields
    if isinstance(door, GrpcDoor):
        fields = {name: value for name, value in fields.items() if name != "nonsense"}
    try:
        if made.is_streamed:
            chunks = await door.stream(**fields)
            answer = {"choices": joined(chunks), "usage": counted(chunks[-1].get("usage") or {})}
        else:
            answer = comparable(await door.complete(**fields))
    except CallError as error:
        return refusal(error, fields)
    return answer if fields.get("seed") is not None else len(answer["choices"])


def refusal(error: CallError, fields: Answer) -> tuple[str, str | None]:
    """Return the code of what is the caller's fault, and the field, which is one that was sent."""
    assert error.code in ("invalid_request_error", "context_length_exceeded", "model_not_found")
    assert error.param in fields or error.param == "prompt"
    return error.code, error.param


def test_every_field_is_generated() -> None:
    assert set(fields_of(FAKE)) == {*CompletionRequest.model_fields, "repeat_penalty", "nonsense"}


def carries(door: Door, fields: Answer) -> bool:
    """Tell whether a door's wire can carry a request as it is."""
    if isinstance(door, HttpDoor):
        return is_unicode(fields)
    return not isinstance(door, GrpcDoor) or all(fits(name, value) for name, value in fields.items())


def is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def fits(name: str, value: Any) -> bool:
    """Tell whether a field of the gRPC door's message can have a value; one left out is a null."""
    if value is None or name == "nonsense":
        return True
    if name == "prompt":
        return is_prompt(value)
    if name == "stop" and isinstance(value, str):
        return is_unicode(value)
    field = pb.CompletionRequest.DESCRIPTOR.fields_by_name.get(name)
    return (name == "stream" and value is False) if field is None else is_of(field, value)


def is_of(field: FieldDescriptor, value: Any) -> bool:
    """Tell whether a field has a value's type; protobuf itself takes what is near it too."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        return isinstance(value, dict) and all(
            is_decimal(key) and is_single(entry["value"], item) for key, item in value.items()
        )
    if field.is_repeated:
        is_list = isinstance(value, list) and (bool(value) or field.message_type is None)
        return is_list and all(is_single(field, item) for item in value)
    return is_single(field, value)


def is_single(field: FieldDescriptor, value: Any) -> bool:
    if field.message_type is not None:
        parts = field.message_type.fields_by_name
        return isinstance(value, dict) and all(
            v is None or (k in parts and is_of(parts[k], v)) for k, v in value.items()
        )
    if field.type == field.TYPE_STRING:
        return isinstance(value, str) and is_unicode(value)
    if field.type == field.TYPE_DOUBLE:
        return type(value) is float or (type(value) is int and abs(value) < 1 << 53)
    return type(value) is bool if field.type == field.TYPE_BOOL else is_int64(value)


def is_prompt(value: Any) -> bool:
    if isinstance(value, str):
        return is_unicode(value)
    if not isinstance(value, list):
        return False
    of_texts = all(isinstance(item, str) for item in value)
    of_lists = all(isinstance(item, list) and all(map(is_int64, item)) for item in value)
    return (of_texts and is_unicode(value)) or of_lists or all(map(is_int64, value))


def is_int64(value: Any) -> bool:
    return type(value) is int and -(1 << 63) <= value < 1 << 63


def is_decimal(key: str) -> bool:
    """Tell whether a key of a JSON object is how a number is written, and of 64 bits."""
    return key.removeprefix("-").isdecimal() and str(int(key)) == key and is_int64(int(key))
