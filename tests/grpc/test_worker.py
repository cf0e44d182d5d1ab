"""What a gateway is answered is what the other gRPC service answers, in tokens."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from google.rpc.error_details_pb2 import BadRequest  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from smg_grpc_proto import vllm_engine_pb2 as worker_pb
from smg_grpc_proto import vllm_engine_pb2_grpc as worker_grpc
from smg_grpc_proto.generated import common_pb2

from engine.contract.limits import Limits
from engine.serving import grpc as door
from engine.serving.auth import ApiKeys
from engine.serving.vllm_wire import Asked, fields_of
from tests.grpc.calls import CODE, details, error_of, serving
from tests.grpc.test_access import reflected
from tests.grpc.worker_calls import FRANCE_TEXT, choices, france, request, short

if TYPE_CHECKING:
    import grpc

    from engine.service.service import CompletionService
    from tests.grpc.watched import Watched


@pytest.fixture(scope="module")
def worker(channel: grpc.aio.Channel) -> Any:
    return worker_grpc.VllmEngineStub(channel)


FORMS = ("regex", "choice", "grammar", "json_schema")
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "greedy": ({"temperature": 0.0}, {}),
    "drawn": ({"temperature": 0.7, "top_p": 0.95, "seed": 5}, {}),
    "many": ({"n": 3, "seed": 7, "temperature": 1.2, "presence_penalty": 0.5}, {}),
    "scored": ({"temperature": 0.9, "seed": 9, "logprobs": 3}, {}),
    "filtered": (
        {"seed": 11, "top_k": 20, "min_p": 0.01, "repetition_penalty": 1.1, "frequency_penalty": -0.3},
        {},
    ),
    "biased": ({"seed": 1, "logit_bias": {42: -5.5, 28: 3.3}, "logprobs": 0}, {}),
    "stopped": ({"temperature": 0.0, "stop": ["Paris", " the"], "min_tokens": 2}, {}),
    "forced": ({"temperature": 0.0, "ignore_eos": True, "stop_token_ids": [30]}, {}),
    "regex": ({"seed": 3, "regex": "[0-9]{3}"}, {"structured_outputs": {"regex": "[0-9]{3}"}}),
    "choice": (
        {"seed": 3, "choice": worker_pb.ChoiceConstraint(choices=["yes", "no"])},
        {"structured_outputs": {"choice": ["yes", "no"]}},
    ),
    "grammar": (
        {"seed": 3, "grammar": 'root ::= "a" "b"'},
        {"structured_outputs": {"grammar": 'root ::= "a" "b"'}},
    ),
    "schema": (
        {"seed": 3, "json_schema": '{"type": "boolean"}'},
        {"structured_outputs": {"json": '{"type": "boolean"}'}},
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_whole_and_stream_are_the_contracts_answer(
    worker: Any, service: CompletionService, model: str, case: str
) -> None:
    params, form = CASES[case]
    fields = {name: value for name, value in params.items() if name not in FORMS} | form
    answer = await service.complete(
        service.parse(
            {
                "model": model,
                "prompt": FRANCE_TEXT,
                "max_tokens": 16,
                "return_token_ids": True,
                "include_stop_str_in_output": True,
                **fields,
            }
        )
    )
    for stream in (False, True):
        asked = request(france(service), stream=stream, max_tokens=16, **params)
        told = await choices(worker.Generate(asked))
        assert [choice.tokens for choice in told] == [choice.token_ids for choice in answer.choices]
        assert [choice.reason for choice in told] == [choice.finish_reason for choice in answer.choices]
        for choice, expected in zip(told, answer.choices, strict=True):
            scores = [] if expected.logprobs is None else expected.logprobs.scores
            assert choice.logprobs == [short(score.logprob or 0) for score in scores]
            tops = [{token: short(value) for token, value in score.alternatives} for score in scores]
            assert choice.top == (tops if params.get("logprobs") else [])
        assert told[0].complete.prompt_tokens == answer.usage.prompt_tokens


@given(st.integers(-(10**7), 10**7), st.integers(0, 6))
def test_a_number_in_32_bits_is_the_one_that_was_meant(digits: int, places: int) -> None:
    number = digits / 10**places
    params = worker_pb.SamplingParams(
        temperature=number, top_p=number, repetition_penalty=number, min_p=number, logit_bias={7: number}
    )
    asked = Asked(worker_pb.GenerateRequest(sampling_params=params), Limits())
    fields = fields_of(worker_pb.GenerateRequest(sampling_params=params), asked, prompt=[1], room=9)
    assert (fields["temperature"], fields["logit_bias"]) == (number, {7: number})
    for name in ("top_p", "repetition_penalty", "min_p"):
        assert fields.get(name, 0) == number  # their 0 is not sent


def test_without_a_limit_an_answer_may_fill_the_context() -> None:
    message = worker_pb.GenerateRequest()
    fields = fields_of(message, Asked(message, Limits()), prompt=[1], room=9)
    assert fields == {
        "prompt": [1],
        "max_tokens": 9,
        "return_token_ids": True,
        "echo": False,
        "include_stop_str_in_output": True,
    }


async def test_a_text_is_its_tokens(worker: Any, service: CompletionService) -> None:
    params = worker_pb.SamplingParams(temperature=0.0, max_tokens=4)
    asked = worker_pb.GenerateRequest(text=FRANCE_TEXT, sampling_params=params)
    (of_text,) = await choices(worker.Generate(asked))
    (of_tokens,) = await choices(worker.Generate(request(france(service), temperature=0.0, max_tokens=4)))
    assert of_text.tokens == of_tokens.tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("logprobs", [None, 1])
async def test_prompt_logprobs_are_those_of_an_echo(
    worker: Any, service: CompletionService, model: str, logprobs: int | None, stream: bool
) -> None:
    fields = {"model": model, "prompt": FRANCE_TEXT, "max_tokens": 2, "seed": 1, "echo": True, "logprobs": 2}
    answer = await service.complete(service.parse(fields))
    assert answer.choices[0].logprobs is not None
    scores = answer.choices[0].logprobs.scores[: len(france(service))]
    wanted: dict[str, Any] = {} if logprobs is None else {"logprobs": logprobs}
    asked = request(france(service), max_tokens=2, seed=1, prompt_logprobs=2, stream=stream, **wanted)
    (told,) = await choices(worker.Generate(asked))
    inputs = told.complete.input_logprobs
    assert list(inputs.token_ids) == france(service)
    assert not inputs.token_logprobs[0].HasField("value")
    values = [each.value for each in inputs.token_logprobs][1:]
    assert values == [short(score.logprob or 0) for score in scores[1:]]
    tops = [dict(zip(top.token_ids, top.values, strict=True)) for top in inputs.top_logprobs]
    assert tops == [{token: short(value) for token, value in score.alternatives} for score in scores]
    assert len(told.logprobs) == (0 if logprobs is None else 2)
    assert all(len(top) == logprobs for top in told.top)


async def test_what_ended_a_choice_is_named(worker: Any, service: CompletionService) -> None:
    common: dict[str, Any] = {"temperature": 0.0, "max_tokens": 16}
    (plain,) = await choices(worker.Generate(request(france(service), **common)))
    pieces = [service.engine.backend.piece(token).decode() for token in plain.tokens]
    for stream in (False, True):
        stop = pieces[2][-2:]
        asked = request(france(service), stream=stream, stop=["zzzz", stop], **common)
        (by_text,) = await choices(worker.Generate(asked))
        assert by_text.complete.matched_stop_str == stop
        text = "".join(pieces[: len(by_text.tokens)])
        assert stop in text
        assert stop not in text.removesuffix(pieces[len(by_text.tokens) - 1])
        asked = request(france(service), stream=stream, stop_token_ids=[plain.tokens[1]], **common)
        (by_token,) = await choices(worker.Generate(asked))
        assert by_token.complete.matched_token_id == plain.tokens[1]
        assert by_token.tokens == plain.tokens[:2]
    assert plain.complete.WhichOneof("matched_stop") is None


async def test_the_models_own_end_is_a_token_and_no_match(worker: Any, service: CompletionService) -> None:
    end = min(service.engine.backend.info.eog_tokens)
    asked = request(france(service), max_tokens=8, logit_bias={end: 100.0})
    (told,) = await choices(worker.Generate(asked))
    assert (told.tokens, told.reason) == ([end], "stop")
    assert told.complete.WhichOneof("matched_stop") is None


async def test_cached_tokens_are_told(worker: Any, service: CompletionService) -> None:
    tokens = service.engine.backend.tokenize("A text that nobody else asks for. " * 8)
    first, second = [await choices(worker.Generate(request(tokens, max_tokens=1))) for _ in range(2)]
    assert first[0].complete.cached_tokens == 0
    assert second[0].complete.cached_tokens > len(tokens) // 2


@pytest.fixture
def endless(service: CompletionService) -> dict[str, Any]:
    """A request for every slot that cannot end before its many tokens."""
    backend = service.engine.backend
    return {
        "n": backend.n_slots,
        "max_tokens": backend.n_cells // backend.n_slots - 32,
        "logit_bias": dict.fromkeys(backend.info.eog_tokens, -100.0),
    }


async def test_an_aborted_stream_ends_and_frees_its_slots(
    worker: Any, service: CompletionService, watched: Watched, endless: dict[str, Any]
) -> None:
    call = worker.Generate(request(france(service), stream=True, request_id="mine", **endless))
    messages = aiter(call)
    assert (await anext(messages)).chunk.token_ids
    await worker.Abort(worker_pb.AbortRequest(request_ids=["other", "mine"]))
    *_, last = [message async for message in messages]
    assert (last.complete.finish_reason, last.complete.completion_tokens > 0) == ("abort", True)
    await watched.cancelled()
    await watched.submitted()
    await watched.drained()


async def test_an_aborted_answer_ends_and_frees_its_slots(
    worker: Any, service: CompletionService, watched: Watched, endless: dict[str, Any]
) -> None:
    call = worker.Generate(request(france(service), request_id="mine", **endless))
    reading = asyncio.ensure_future(choices(call))
    await watched.submitted()
    await worker.Abort(worker_pb.AbortRequest(request_ids=["mine"]))
    told = await reading
    assert [choice.reason for choice in told] == ["abort"] * endless["n"]
    await watched.cancelled()
    await watched.drained()


UNSUPPORTED: dict[str, dict[str, Any]] = {
    "mm_inputs": {"mm_inputs": worker_pb.MultimodalInputs(mm_hashes=["a"])},
    "media_refs": {"media_refs": worker_pb.MediaRefs(items=[worker_pb.MediaRef(url="http://a")])},
    "kv_transfer_params": {"kv_transfer_params": worker_pb.KvTransferParams(remote_host="a")},
    "kv_transfer_params_json": {"kv_transfer_params_json": "{}"},
    "data_parallel_rank": {"data_parallel_rank": 1},
    "structural_tag": {"sampling_params": worker_pb.SamplingParams(structural_tag="{}")},
    "truncate_prompt_tokens": {"sampling_params": worker_pb.SamplingParams(truncate_prompt_tokens=3)},
    "logprobs": {"sampling_params": worker_pb.SamplingParams(logprobs=-1)},
    "prompt_logprobs": {"sampling_params": worker_pb.SamplingParams(prompt_logprobs=6)},
    "temperature": {"sampling_params": worker_pb.SamplingParams(temperature=3)},
    "stop_token_ids": {"sampling_params": worker_pb.SamplingParams(max_tokens=1, stop_token_ids=[10**9])},
    "max_tokens": {"sampling_params": worker_pb.SamplingParams(max_tokens=10**6)},
}


@pytest.mark.parametrize("name", UNSUPPORTED)
async def test_what_cannot_be_done_is_refused_by_name(
    worker: Any, service: CompletionService, name: str
) -> None:
    asked = request(france(service), max_tokens=1)
    asked.MergeFrom(worker_pb.GenerateRequest(**UNSUPPORTED[name]))
    refusals = service.requests.outcomes["grpc", "invalid_request_error"]
    error = await error_of(worker.Generate(asked))
    assert error.code() is CODE.INVALID_ARGUMENT
    (violation,) = details(error, BadRequest).field_violations
    assert violation.field == name
    counted = service.requests.outcomes["grpc", "invalid_request_error"] - refusals
    assert counted == (0 if name == "max_tokens" else 1)  # which has a code of its own


async def test_a_prompt_is_wanted(worker: Any) -> None:
    error = await error_of(worker.Generate(worker_pb.GenerateRequest()))
    assert error.code() is CODE.INVALID_ARGUMENT
    assert details(error, BadRequest).field_violations[0].field == "input"


METHODS = {
    "Embed": worker_pb.EmbedRequest(),
    "SubscribeKvEvents": common_pb2.SubscribeKvEventsRequest(),
    "FlushCache": common_pb2.FlushCacheRequest(),
    "StartProfile": common_pb2.StartProfileRequest(),
    "StopProfile": common_pb2.StopProfileRequest(),
}


@pytest.mark.parametrize("name", METHODS)
async def test_methods_for_which_there_is_nothing(worker: Any, name: str) -> None:
    error = await error_of(getattr(worker, name)(METHODS[name]))
    assert error.code() is CODE.UNIMPLEMENTED
    assert name in str(error.details())


async def test_it_tells_what_it_is_and_how_busy(
    worker: Any, service: CompletionService, model: str, watched: Watched, endless: dict[str, Any]
) -> None:
    info = await worker.GetModelInfo(worker_pb.GetModelInfoRequest())
    assert (info.served_model_name, info.model_path, info.is_generation) == (model, model, True)
    assert (info.max_context_length, info.vocab_size) == (service.max_model_len, 49152)
    assert set(info.eos_token_ids) == service.engine.backend.info.eog_tokens
    assert (await worker.HealthCheck(worker_pb.HealthCheckRequest())).healthy
    call = worker.Generate(request(france(service), stream=True, request_id="busy", **endless))
    await call.read()
    server = await worker.GetServerInfo(worker_pb.GetServerInfoRequest())
    (load,) = (await worker.GetLoads(worker_pb.GetLoadsRequest(include=["core"]))).loads
    call.cancel()
    assert (server.active_requests, server.max_num_seqs) == (1, service.engine.backend.n_slots)
    assert load.num_running_reqs == load.max_running_requests == service.engine.backend.n_slots
    assert load.max_total_num_tokens == service.engine.backend.n_cells
    assert 0 < load.num_used_tokens < load.max_total_num_tokens
    assert load.gen_throughput > 0
    await watched.cancelled()
    await watched.submitted()
    await watched.drained()


async def test_it_turns_red_as_it_shuts_down(
    worker: Any, service: CompletionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_is_draining", True)
    health = await worker.HealthCheck(worker_pb.HealthCheckRequest())
    assert (health.healthy, health.message) == (False, "shutting down")


async def test_the_tokenizer_comes_in_parts(worker: Any, service: CompletionService) -> None:
    parts = [part async for part in worker.GetTokenizer(common_pb2.GetTokenizerRequest())]
    data = b"".join(part.data for part in parts)
    assert [part.sha256 for part in parts] == [""] * (len(parts) - 1) + [hashlib.sha256(data).hexdigest()]
    assert len(parts) > 1
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        tokenizer = json.loads(archive.read("tokenizer.json"))
        config = json.loads(archive.read("tokenizer_config.json"))
    assert len(tokenizer["model"]["vocab"]) == service.engine.backend.info.n_vocab
    assert config["chat_template"] == service.tokenizer_info().chat_template


async def test_a_service_without_a_file_has_no_tokenizer(
    service: CompletionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "path", None)
    async with serving(service, ApiKeys()) as channel:
        call = worker_grpc.VllmEngineStub(channel).GetTokenizer(common_pb2.GetTokenizerRequest())
        assert (await error_of(call)).code() is CODE.UNIMPLEMENTED


async def test_without_its_package_the_door_has_one_service_less(
    service: CompletionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "find_spec", lambda _: None)
    async with serving(service, ApiKeys()) as channel:
        assert "vllm.grpc.engine.VllmEngine" not in await reflected(channel)


async def test_with_a_package_made_for_others_it_is_said(
    service: CompletionService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "engine.serving.vllm_service", None)
    monkeypatch.delattr("engine.serving.vllm_service", raising=False)
    async with serving(service, ApiKeys()) as channel:
        assert "vllm.grpc.engine.VllmEngine" not in await reflected(channel)
    assert "no worker for SMG" in caplog.text
