"""An answer that broke off goes on behind the tokens that its client has, as if nothing had happened."""

from __future__ import annotations

import json
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from engine.core.text import whole_characters
from engine.errors import InvalidRequestError
from tests.answers import counted
from tests.core.fake_backend import END, N_VOCAB
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.service.service import CompletionService
    from tests.doors import Answer, Door

GENERATED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PARTS = ["天".encode()[:2], "天".encode()[2:], "🙂B".encode()[:3], "🙂B".encode()[3:], b"ELL"]
"""What the last tokens of the fake model add to a text."""
FIRST_PART = N_VOCAB - len(PARTS)
MESSAGES = [{"role": "user", "content": "Say hi."}]


class Parts(AnyText):
    """A fake model with tokens that are parts of characters, and one that three others may stand for."""

    def piece(self, token: int) -> bytes:
        return PARTS[token - FIRST_PART] if token >= FIRST_PART else super().piece(token)

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        letters = [ord(letter) - 64 if letter.isupper() else ord(letter) % 26 + 1 for letter in text]
        return [END] * add_special + letters


@pytest.fixture(scope="module", params=[False, True], ids=["in step", "behind the step"])
def quick(request: pytest.FixtureRequest) -> Iterator[CompletionService]:
    """A service whose model costs no time; its text is made in the step, or while the next one runs."""
    backend = Parts(endless=False, n_cells=512)
    backend.is_asynchronous = request.param
    with closing(engine_of(backend)) as engine:
        yield service_of(engine)


class Got(NamedTuple):
    """What a client has of a stream, or of a part of it."""

    text: str
    tokens: list[int]
    logprobs: list[tuple[str, float]]
    finish_reason: str | None
    usage: Answer | None


def got(chunks: list[Answer]) -> Got:
    """Put chunks of either shape together; their order is that of one choice."""
    pieces = [choice for chunk in chunks for choice in chunk["choices"]]
    return Got(
        "".join(text_of(piece) for piece in pieces),
        [token for piece in pieces for token in piece["token_ids"]],
        [entry for piece in pieces for entry in entries(piece["logprobs"])],
        next((piece["finish_reason"] for piece in pieces if piece["finish_reason"]), None),
        next((counted(chunk["usage"]) for chunk in chunks if chunk.get("usage")), None),
    )


def text_of(piece: Answer) -> str:
    text: str = piece["text"] if "text" in piece else piece["delta"].get("content", "")
    return text


def entries(logprobs: Answer | None) -> list[tuple[str, float]]:
    if logprobs is None:
        return []
    if "content" in logprobs:
        return [(entry["token"], entry["logprob"]) for entry in logprobs["content"]]
    return [*zip(logprobs["tokens"], logprobs["token_logprobs"], strict=True)]


async def stream(service: CompletionService, fields: Answer) -> list[Answer]:
    """Return the chunks of a request in its shape: a chat where it has messages."""
    parse = service.parse_chat if "messages" in fields else service.parse
    asked: Any = {"stream": True, "stream_options": {"include_usage": True}, "return_token_ids": True}
    request: Any = parse({"model": service.name, **fields, **asked})
    async with aclosing(await service.stream(request)) as chunks:
        return [chunk.model_dump() async for chunk in chunks]


FORMS = ["A+B?", "(ABC|ABD)+X?", "[A-E]{2,6}HELLO[F-J]", "HELLOWORLD", "(HELLO|HELP)+天?", "[A-Z]*"]
STOPS = [[], ["AB"], ["BB", "天A"], ["ABC", "BBBA"], ["🙂B"], ["天B", "A"]]
OFTEN = [{}, dict.fromkeys(range(FIRST_PART, N_VOCAB), 6.0), {1: 6.0, 2: 6.0, END: 4.0}, {N_VOCAB - 1: 9.0}]
"""Biases: parts of characters, a stop string's letters and the end, or the token of three letters."""
TEXTS = st.fixed_dictionaries(
    {
        "stop": st.sampled_from(STOPS),
        "include_stop_str_in_output": st.booleans(),
        "ignore_eos": st.booleans(),
        "min_tokens": st.integers(0, 3),
    }
)
FORMED = st.fixed_dictionaries(
    {"structured_outputs": st.sampled_from([{"regex": form} for form in FORMS])},
    optional={"stop": st.sampled_from(STOPS)},
)
DRAWING = st.fixed_dictionaries(
    {"seed": st.integers(0, 50), "max_tokens": st.integers(3, 14), "logit_bias": st.sampled_from(OFTEN)},
    optional={
        "temperature": st.sampled_from([0, 0.7, 2]),
        "presence_penalty": st.sampled_from([-2, 1, 2]),
        "frequency_penalty": st.sampled_from([-1, 0.5]),
        "repetition_penalty": st.sampled_from([0.8, 1.5]),
        "top_k": st.sampled_from([2, 8]),
        "stop_token_ids": st.lists(st.integers(1, N_VOCAB - 1), max_size=1),
    },
)


@st.composite
def requests(draw: st.DrawFn) -> Answer:
    """Make a request of either shape, in which much happens in few tokens."""
    fields: Answer = draw(DRAWING) | draw(TEXTS | FORMED)
    has_logprobs = draw(st.booleans())
    if draw(st.booleans()):
        return fields | {"messages": MESSAGES, "logprobs": has_logprobs}
    return fields | {"prompt": "HELLO", "logprobs": 1 if has_logprobs else None}


async def answered(service: CompletionService, fields: Answer) -> list[Answer]:
    """Return the chunks of an answer, if its form lets it come to an end."""
    try:
        return await stream(service, fields)
    except InvalidRequestError as error:
        assume(error.param != "structured_outputs")
        raise


@settings(GENERATED, max_examples=50)
@given(fields=requests())
async def test_a_stream_goes_on_behind_any_chunk(quick: CompletionService, fields: Answer) -> None:
    chunks = await answered(quick, fields)
    whole = got(chunks)
    for at in range(len(chunks)):
        had, lost = got(chunks[:at]), got(chunks[at:])
        rest = got(await stream(quick, fields | {"resume_token_ids": had.tokens}))
        assert rest == lost._replace(finish_reason=whole.finish_reason, usage=whole.usage), at


@settings(GENERATED, max_examples=30)
@given(fields=requests())
async def test_an_answer_goes_on_behind_any_token(quick: CompletionService, fields: Answer) -> None:
    """Also behind one whose text would have been held back: whoever has it is taken to have its text, too."""
    whole = got(await answered(quick, fields))
    for at in range(len(whole.tokens) + 1):
        tokens = whole.tokens[:at]
        rest = got(await stream(quick, fields | {"resume_token_ids": tokens}))
        assert tokens + rest.tokens == whole.tokens
        assert (rest.finish_reason, rest.usage) == (whole.finish_reason, whole.usage)
        if rest.tokens and not fields.get("stop"):
            known, _ = whole_characters(b"".join(map(quick.engine.backend.piece, tokens)))
            assert known + rest.text == whole.text


SCHEMA = {
    "type": "object",
    "properties": {"greeting": {"type": "string", "maxLength": 8}, "is_polite": {"type": "boolean"}},
    "required": ["greeting", "is_polite"],
}
CASES: dict[str, Answer] = {
    "penalties": {
        "prompt": "la la la la",
        "presence_penalty": 1.5,
        "frequency_penalty": -0.5,
        "repetition_penalty": 1.2,
        "top_p": 0.9,
        "logprobs": 2,
    },
    "characters of several tokens": {"prompt": "天气非常好", "temperature": 0.7, "logprobs": 1},
    "a stop string over the seam": {
        "prompt": "The capital of France is",
        "temperature": 0,
        "stop": ["nited", "is the"],
    },
    "a form": {
        "messages": MESSAGES,
        "json_schema": json.dumps(SCHEMA),
    },
    "a chat": {"messages": MESSAGES, "min_tokens": 4},
}


@pytest.mark.parametrize("case", CASES)
async def test_a_stream_goes_on_through_every_door(door: Door, case: str) -> None:
    fields = {"seed": 3, "max_tokens": 16, "return_token_ids": True, **CASES[case]}
    ask = door.stream_chat if "messages" in fields else door.stream
    chunks = await ask(**fields)
    whole = got(chunks)
    for at in (len(chunks) // 2, len(chunks) - 1):
        had, lost = got(chunks[:at]), got(chunks[at:])
        rest = got(await ask(**fields, resume_token_ids=had.tokens))
        assert rest == lost._replace(finish_reason=whole.finish_reason)


async def test_an_answer_as_a_whole_goes_on_too(door: Door) -> None:
    fields: Answer = {"prompt": "The capital of France is", "seed": 3, "max_tokens": 12, "logprobs": 1}
    whole = await door.complete(**fields, return_token_ids=True)
    (choice,) = whole["choices"]
    tokens = choice["token_ids"]
    answer = await door.complete(**fields, return_token_ids=True, resume_token_ids=tokens[:5])
    (rest,) = answer["choices"]
    assert rest["token_ids"] == tokens[5:]
    assert choice["text"].endswith(rest["text"])
    assert rest["logprobs"] == {name: values[5:] for name, values in choice["logprobs"].items()}
    assert counted(answer["usage"]) == counted(whole["usage"])


async def test_what_the_cache_holds_is_not_computed_again(service: CompletionService) -> None:
    fields: Answer = {"prompt": "It was a bright cold day in April, and", "seed": 3, "max_tokens": 64}
    chunks = got(await stream(service, fields))  # long: what others have cached may begin alike
    before = service.engine.step_totals.prefilled
    rest = got(await stream(service, fields | {"resume_token_ids": chunks.tokens[:60]}))
    assert chunks.tokens[60:] == rest.tokens
    assert service.engine.step_totals.prefilled - before == 1, "the last token, whose logits are needed"


@pytest.mark.parametrize(
    ("fields", "tokens", "problem"),
    [
        pytest.param({}, [1, END, 2], "behind the end of the answer", id="behind the end token"),
        pytest.param({"stop": ["AB"]}, [1, 2, 3], "behind the end of the answer", id="behind a stop string"),
        pytest.param({"max_tokens": 2}, [1, 2, 3], r"at most .* \(2\), not 3", id="more than the most"),
        pytest.param({"guided_regex": "A+B"}, [1, 3], "fit 'guided_regex'", id="against the form"),
        pytest.param({"guided_regex": "A+B"}, [1, END], "fit 'guided_regex'", id="an end before the form's"),
        pytest.param({}, [N_VOCAB], f"from 0 to {N_VOCAB - 1}, not {N_VOCAB}", id="none of the model's"),
    ],
)
async def test_what_begins_no_answer_to_the_request_is_refused(
    quick: CompletionService, fields: Answer, tokens: list[int], problem: str
) -> None:
    request = quick.parse({"model": "fake", "prompt": "A", **fields, "resume_token_ids": tokens})
    with pytest.raises(InvalidRequestError, match=problem) as refused:
        await quick.complete(request)
    assert refused.value.param == "resume_token_ids"
