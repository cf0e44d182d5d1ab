"""Requests made of our own OpenAPI page: what the page promises is what the server does."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from engine.contract.forms import FormFields
from engine.contract.limits import Limits
from engine.contract.parsing import parse_chat, parse_request
from engine.core.engine import Engine
from engine.errors import InvalidRequestError
from engine.service.service import CompletionService
from engine.serving.auth import ApiKeys
from engine.serving.http import create_app
from engine.serving.http_server import HttpServer
from tests.core.fake_backend import N_VOCAB, FakeBackend
from tests.doors import HttpDoor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from schemathesis import Case, HookContext

Page = dict[str, Any]
KEY = "sk-xxxx"
AUTHORIZATION = {"Authorization": f"Bearer {KEY}"}
LIMITS = Limits(max_logprobs=7, max_prompts=9)
MAX_MODEL_LEN = 256
EMPTY_LIST = {"type": "array", "maxItems": 0}
FORMS: dict[str, dict[str, Any]] = {
    "response_format": {"response_format": {"type": "json_schema", "json_schema": {"schema": EMPTY_LIST}}},
    "structured_outputs": {"structured_outputs": {"choice": ["AB", "ABC"]}},
    "grammar": {"grammar": 'root ::= "A" | "B"'},
    "json_schema": {"json_schema": EMPTY_LIST},
    "guided_json": {"guided_json": '{"const": []}'},
    "guided_regex": {"guided_regex": "A+"},
    "guided_choice": {"guided_choice": ["A"]},
    "guided_grammar": {"guided_grammar": 'start: "A" "B"*'},
    "guided_json_object": {},
}
CONFIG = {
    "seed": 1,
    "headers": AUTHORIZATION,
    "continue-on-failure": True,
    # Keys are no generated data: each request has the right one, and the check `ignored_auth` tries others.
    "generation": {"max-examples": 50, "database": "none", "with-security-parameters": False},
    "operations": [
        {"include-path": "/v1/completions", "generation": {"max-examples": 300}},
        {"include-path": "/v1/chat/completions", "generation": {"max-examples": 150}},
    ],
    # Learning from answers would make every request a third dearer, and the right values are all in the page.
    "phases": {
        "fuzzing": {"error-feedback": {"enabled": False}, "extra-data-sources": {"responses": False}},
    },
    # All checks are on, and narrower than by default: an unknown model is a 404, a body of another
    # type a 415, and whatever else is wrong a 400.
    "checks": {
        "positive_data_acceptance": {"expected-statuses": [200, 404]},
        "negative_data_rejection": {"expected-statuses": [400, 401, 404, 405, 415]},
    },
}


class AnyText(FakeBackend):
    """The fake model, for which every text has tokens, and none of them makes it fail."""

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        return [0] * add_special + [1 + ord(character) % (N_VOCAB - 1) for character in text]

    def row(self, held: list[int]) -> NDArray[Any]:
        return super().row([0, *held])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with a key, in a thread of its own, as the requests come from code that blocks."""
    backend = AnyText(n_cells=1024, n_batch=256, endless=False)
    engine = Engine(backend, max_logprobs=LIMITS.max_logprobs, max_requests=64)
    service = CompletionService(engine, name="fake", limits=LIMITS, max_model_len=MAX_MODEL_LEN)
    listening = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(create_app(service, ApiKeys([KEY])))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    with closing(service):
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def page(url: str) -> Page:
    answer: Page = requests.get(f"{url}/openapi.json", headers=AUTHORIZATION, timeout=60).json()
    return answer


def validator(page: Page, name: str) -> jsonschema_rs.Validator:
    """Return a schema with all that it refers to."""
    reference = f"#/components/schemas/{name}"
    return jsonschema_rs.Draft202012Validator({"$ref": reference, "components": page["components"]})


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Keep generated requests cheap, and valid ones within the rules that their schema cannot tell."""
    case.body = integers(case.body)
    with suppress(KeyError, ValueError):
        if float(case.headers["x-request-timeout"]) > 0:  # else a valid request may be given up, with 504
            case.headers["x-request-timeout"] = "60"
    if not isinstance(case.body, dict):
        return
    first: Any = case.body.get("repetition_penalty")
    if not has_one_name(case.body) and type(first) in (int, float) and 0 < first <= 100:
        # Only the first name is looked at, so what is wrong with the other would not be seen.
        case.body = {name: value for name, value in case.body.items() if name != "repetition_penalty"}
    if isinstance(name := case.body.get("model"), str) and len(name) > 1:  # others stay unknown
        case.body = {**case.body, "model": "fake"}
    if "completions" not in case.path:
        return
    is_chat = "chat" in case.path
    case.body = {**case.body, **cheap(case.body, is_chat=is_chat)}
    if case.meta is not None and case.meta.generation.mode.is_positive:
        case.body = (within_chat_rules if is_chat else within_rules)(case.body)


def integers(value: Any) -> Any:
    """Write 1.0 as 1: to a JSON schema both are integers, to the contract only one."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    if isinstance(value, list):
        return [integers(item) for item in value]
    return {name: integers(item) for name, item in value.items()} if isinstance(value, dict) else value


def cheap(body: Page, *, is_chat: bool) -> Page:
    """Return smaller values for those that are valid, so that what is wrong stays wrong."""
    most = {"max_tokens": (MAX_MODEL_LEN - 1, 2), "min_tokens": (MAX_MODEL_LEN - 1, 2), "n": (128, 3)}
    if is_chat:
        most["max_completion_tokens"] = most["max_tokens"]
        if body.get("max_tokens") is None and body.get("max_completion_tokens") is None:
            body = body | {"max_tokens": MAX_MODEL_LEN - 1}
    return {
        name: few
        for name, (limit, few) in most.items()
        if type(body.get(name)) is int and few < body[name] <= limit
    }


def within_rules(body: Page) -> Page:
    """Keep the rules between fields, of which a schema for generating bodies does better not to know."""
    given = within_shared_rules(body)
    if "prompt" in given:
        given.pop("messages", None)
        given["prompt"] = short(given["prompt"])
    elif "messages" not in given:
        given["prompt"] = "a"
    given.pop("suffix", None)  # the model behind it cannot fill a gap
    if not given.get("echo"):
        given["max_tokens"] = max(given.get("max_tokens", 16), 1)
    given["min_tokens"] = min(given.get("min_tokens", 0), given.get("max_tokens", 16))
    if "best_of" in given:
        n = given.get("n", 1)
        given["best_of"] = n if given.get("stream") else min(max(given["best_of"], n), n + 2)
    return {**dict.fromkeys(body), **given}


def within_chat_rules(body: Page) -> Page:
    """Keep the rules between the fields of a chat."""
    given = within_shared_rules(body)
    given |= dict.fromkeys(given.keys() & {"max_tokens", "max_completion_tokens"}, 2)
    given["min_tokens"] = min(given.get("min_tokens", 0), 2)
    if not given.get("logprobs"):
        given.pop("top_logprobs", None)
    if given.get("continue_final_message"):
        given.pop("add_generation_prompt", None)
        given["messages"].append({"role": "assistant", "content": ""})
    return {**dict.fromkeys(body), **given}


def within_shared_rules(body: Page) -> Page:
    """Keep those between fields of both shapes; what is null is left out."""
    given = {name: value for name, value in body.items() if value is not None}
    if not given.get("stream"):
        given.pop("stream_options", None)
    if "messages" in given:  # leave room in the context
        given["messages"] = [short_message(message) for message in given["messages"][:3]]
    forms = [name for name in FormFields.model_fields if given.pop(name, None)]
    if forms:  # what no schema can tell: one form, and one that the model's few letters can write
        given |= FORMS[forms[0]]
    if tokens := given.pop("resume_token_ids", None):
        given |= within_an_answer(tokens[0], given, has_form=bool(forms))
    bias = given.get("logit_bias", {})
    given["logit_bias"] = {str(int(token) % N_VOCAB): value for token, value in bias.items()}
    return given


def within_an_answer(token: int, given: Page, *, has_form: bool) -> Page:
    """Resume an answer behind its first token, unless a form may not have it."""
    if has_form:
        return {}
    given.pop("echo", None)
    prompt = given.get("prompt")
    single = {"prompt": "a"} if isinstance(prompt, list) and not isinstance(prompt[0], int) else {}
    one: Page = {name: 1 for name in ("n", "best_of") if name in given}
    return {**single, **one, "resume_token_ids": [token % N_VOCAB]}


def short(prompt: Any) -> Any:
    """Leave room in the context."""
    if isinstance(prompt, str) or isinstance(prompt[0], int):
        return prompt[:64]
    return [short(each) if each else each for each in prompt]


def short_message(message: Page) -> Page:
    content = message["content"]
    if isinstance(content, list):
        content = [{**part, "text": part["text"][:4]} for part in content[:4]]
    return {**message, "role": message["role"][:4], "content": content and content[:16]}


@schemathesis.hook
def filter_body(context: HookContext, body: Any) -> bool:
    """Of two names of one field only the first is looked at, so the other cannot make a request wrong."""
    return not isinstance(body, dict) or has_one_name(body)


def has_one_name(body: Page) -> bool:
    return body.get("repetition_penalty") is None or body.get("repeat_penalty") is None


@pytest.mark.timeout(300)
def test_the_server_does_what_its_page_says(url: str, page: Page, caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of requests, right and wrong, with the checks of schemathesis on every answer."""
    caplog.set_level(logging.ERROR)  # or every unknown field is kept
    schemas = page["components"]["schemas"]
    # Rules over several fields make generating slow, and keep it from varying one field at a time; the hook
    # above keeps them, and another test compares them with the contract.
    loose = {
        kind: {name: rule for name, rule in schemas[kind].items() if name != "allOf"}
        for kind in ("CompletionRequest", "ChatRequest")
    }
    components = page["components"] | {"schemas": schemas | loose}
    config = SchemathesisConfig.from_dict(CONFIG | {"base-url": url})
    schema = schemathesis.openapi.from_dict(page | {"components": components}, config=config)
    statuses: Counter[int] = Counter()
    failures = []
    for event in from_schema(schema).execute():
        assert not isinstance(event, events.FatalError | events.NonFatalError), event
        if isinstance(event, events.ScenarioFinished):
            recorder = event.recorder
            statuses.update(
                sent.response.status_code for sent in recorder.interactions.values() if sent.response
            )
            failures += [
                f"{recorder.label}: {check.failure_info.failure} {recorder.cases[case].value.body!r:.500}"
                for case, checks in recorder.checks.items()
                for check in checks
                if check.failure_info is not None
            ]
    assert not failures, "\n".join(failures[:10])
    assert statuses.total() >= 1500
    assert set(statuses) == {200, 400, 401, 404, 405, 415}


VALUES: dict[str, list[Any]] = {
    "model": ["fake", "", 1],
    "prompt": [None, "", "a", [], ["a"], [1, 2], [[1], [2]], ["a", 1], [[]], [1.5], 1, ["a"] * 10],
    "messages": [
        None,
        [],
        [{"role": "user", "content": ""}],
        [{"role": "user"}],
        [{"role": "", "content": "a"}],
    ],
    "max_tokens": [None, 0, 1, 16, -1, "1", True],
    "echo": [None, True, False, 1],
    "stream": [None, True, False, "true"],
    "stream_options": [None, {}, {"include_usage": True}, {"include_usage": None}, {"include_usage": 1}, []],
    "logprobs": [None, 0, 7, 8],
    "temperature": [None, 0, 2, 2.1, "1"],
    "repetition_penalty": [None, 0, 0.1, 100, 101],
    "repeat_penalty": [None, 0, 0.1, 100, 101],
    "logit_bias": [
        None,
        {},
        {"5": -100},
        {"5": 101},
        {"a": 1},
        {"1_0": 1},
        {" 5": 1},
        {"5.0": 1},
        {"05": 1},
        [],
    ],
    "stop": [None, "a", "", [], ["a"] * 4, ["a"] * 5, [""], "a" * 1024, "a" * 1025],
    "seed": [None, (1 << 63) - 1, 1 << 63, -(1 << 63), 0.5],
    "stop_token_ids": [None, [], [31], [True], "1"],
    "n": [None, 1, 2],
    "resume_token_ids": [None, [], [31], [True], "1"],
    "suffix": [None, "", "a", 1],
    "response_format": [None, {"type": "text"}, {"type": "json"}, {}, "text", {"type": "text", "more": 1}],
    "structured_outputs": [None, {}, {"regex": "A"}, {"regex": ""}, {"choice": []}, {"pattern": "A"}],
    "grammar": [None, "", "start: /A/", 1],
    "json_schema": [None, {}, True, "{}", 1],
    "guided_json_object": [None, False, True, 1],
    "unknown": [None, 1],
}


OF_A_CHAT: dict[str, list[Any]] = {
    "messages": [
        *VALUES["messages"],
        [{"role": "user", "content": "a", "tool_calls": []}],
        [{"role": "user", "content": "a", "tool_calls": [1]}],
    ],
    "prompt": [None, "a"],
    "echo": [None, False, True],
    "max_tokens": [None, 0, 1, "1"],
    "max_completion_tokens": [None, 0, 255, 1.5],
    "logprobs": [None, True, False, 1],
    "top_logprobs": [None, 0, 7, 8, True],
    "add_generation_prompt": [None, True, False, 1],
    "continue_final_message": [None, False, 1],
}
PAIRS = [(name, value) for name, values in VALUES.items() for value in values]
CHAT_PAIRS = [(name, value) for name, values in (VALUES | OF_A_CHAT).items() for value in values]
CHAT = {"model": "fake", "messages": [{"role": "assistant", "content": "a"}]}


def check_schema(
    takes: jsonschema_rs.Validator, parse: Callable[[Page, Limits], object], fields: Page
) -> None:
    """Compare what a schema says of a request with what the contract says."""
    assume(has_one_name(fields) and len(FormFields.model_fields.keys() & fields.keys()) < 2)
    try:
        parse(fields, LIMITS)
        refusal = None
    except InvalidRequestError as error:
        refusal = str(error)
    problems = [str(problem) for problem in takes.iter_errors(fields)]
    assert (refusal is None) == (problems == []), (refusal, problems)


@settings(max_examples=1000, deadline=None, database=None, derandomize=True)
@given(changes=st.lists(st.sampled_from(PAIRS), max_size=4))
def test_the_schema_of_a_request_takes_what_the_contract_takes(
    page: Page, changes: list[tuple[str, Any]]
) -> None:
    takes = validator(page, "CompletionRequest")
    check_schema(takes, parse_request, {"model": "fake", "prompt": "a"} | dict(changes))


@settings(max_examples=500, deadline=None, database=None, derandomize=True)
@given(changes=st.lists(st.sampled_from(CHAT_PAIRS), max_size=4))
def test_the_schema_of_a_chat_takes_what_the_contract_takes(
    page: Page, changes: list[tuple[str, Any]]
) -> None:
    fields = CHAT | dict(changes)
    limits = [fields.get("max_tokens"), fields.get("max_completion_tokens")]
    assume(None in limits or limits[0] == limits[1])  # which no schema can tell
    check_schema(validator(page, "ChatRequest"), parse_chat, fields)


def test_the_page_shows_the_limits_of_its_server(page: Page) -> None:
    schemas = page["components"]["schemas"]
    fields = schemas["CompletionRequest"]["properties"]
    assert fields["logprobs"]["anyOf"][0]["maximum"] == LIMITS.max_logprobs
    assert fields["prompt"]["anyOf"][1]["maxItems"] == LIMITS.max_prompts
    assert fields["max_tokens"]["maximum"] == MAX_MODEL_LEN - 1
    fields = schemas["ChatRequest"]["properties"]
    assert fields["top_logprobs"]["maximum"] == LIMITS.max_logprobs
    assert fields["max_completion_tokens"]["anyOf"][0]["maximum"] == MAX_MODEL_LEN - 1
    assert schemas["TokenId"]["maximum"] == N_VOCAB - 1


def test_the_page_says_which_routes_need_a_key(page: Page) -> None:
    (scheme,) = page["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, operations in page["paths"].items():
        for operation in operations.values():
            needed: list[Any] = {"/ready": [], "/health": [{}, {"key": []}]}.get(path, [{"key": []}])
            assert operation["security"] == needed  # the detail of health needs one
            assert ("401" in operation["responses"]) == bool(needed)


async def test_the_examples_of_the_page_are_answered_by_a_real_model(service: CompletionService) -> None:
    async with HttpDoor(service) as door:
        page = (await door.routes.get("/openapi.json")).json()
        for path, kind, ask, stream in (
            ("/v1/completions", "Completion", door.complete, door.stream),
            ("/v1/chat/completions", "ChatCompletion", door.chat, door.stream_chat),
        ):
            answers, chunks = validator(page, kind), validator(page, f"{kind}Chunk")
            operation = page["paths"][path]["post"]
            assert operation["security"] == []
            for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
                fields = example["value"]
                if not fields.get("stream"):
                    answers.validate(await ask(**fields))
                    continue
                for chunk in await stream(**fields):
                    chunks.validate(chunk)
