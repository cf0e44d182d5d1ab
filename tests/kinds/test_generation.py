"""What a request may ask for, of every kind of model that generates text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from engine.core.step_cost import StepCost
from tests.kinds.files import GENERATING, NOT_INVARIANT

if TYPE_CHECKING:
    from engine.contract.responses import Choice
    from engine.llm import LLM

TEXT = "Hello the world, once upon a time the sky is blue. "
pytestmark = pytest.mark.parametrize("llm", GENERATING, indirect=True)


def choices(llm: LLM, **fields: Any) -> list[Choice]:
    """Return the choices of an answer that does not end before its length."""
    return list(llm.complete(**({"ignore_eos": True, "seed": 7, "max_tokens": 12} | fields)).choices)


def check_same(llm: LLM, one: Choice, other: Choice) -> None:
    """Hold two choices to each other, to the bit where the model is batch-invariant."""
    if llm.models().data[0].id not in NOT_INVARIANT:
        assert one == other
        return
    assert one.text == other.text
    assert one.logprobs is not None
    assert other.logprobs is not None
    assert one.logprobs.token_logprobs == pytest.approx(other.logprobs.token_logprobs, abs=1e-4)


def test_a_seed_repeats_alone_and_beside_others(llm: LLM) -> None:
    (alone,) = choices(llm, prompt=TEXT, logprobs=2)
    check_same(llm, alone, choices(llm, prompt=TEXT, logprobs=2)[0])
    check_same(llm, alone, choices(llm, prompt=[TEXT, "Once"], logprobs=2)[0])
    check_same(llm, alone, choices(llm, prompt=TEXT, logprobs=2, n=3)[0])
    assert choices(llm, prompt=TEXT, logprobs=2, seed=8)[0].text != alone.text


@pytest.mark.parametrize("padding", [1, 3])
def test_padding_changes_nothing(llm: LLM, padding: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fields: dict[str, Any] = {"prompt": [TEXT, "Once"], "n": 2, "logprobs": 2}
    plain = choices(llm, **fields)
    padded = []

    def pad(cost: StepCost, decodes: int) -> int:
        padded.append(min(padding, len(cost.widths) - decodes))
        return padded[-1]

    monkeypatch.setattr(StepCost, "padding", pad)
    for one, other in zip(plain, choices(llm, **fields), strict=True):
        check_same(llm, one, other)
    assert padding in padded or llm.models().data[0].id in ("mamba", "jamba")  # with one text at once


def test_choices_differ_and_the_best_is_one_of_the_candidates(llm: LLM) -> None:
    three = choices(llm, prompt=TEXT, n=3, logprobs=0)
    assert len({choice.text for choice in three}) > 1
    means = [mean_logprob(choice) for choice in three]
    (best,) = choices(llm, prompt=TEXT, best_of=3, logprobs=0)
    assert best.text == three[means.index(max(means))].text


def mean_logprob(choice: Choice) -> float:
    assert choice.logprobs is not None
    values = [value for value in choice.logprobs.token_logprobs if value is not None]
    return sum(values) / len(values)


def test_a_cached_prompt_gives_the_same_as_a_new_one(llm: LLM) -> None:
    prompt = f"{TEXT}{llm.models().data[0].id} {TEXT * 2}"
    fields: dict[str, Any] = {"prompt": prompt, "max_tokens": 6, "seed": 3, "logprobs": 1, "ignore_eos": True}
    cold, warm = llm.complete(**fields), llm.complete(**fields)
    check_same(llm, cold.choices[0], warm.choices[0])
    assert cold.usage is not None
    assert warm.usage is not None
    assert cold.usage.prompt_tokens_details.cached_tokens < warm.usage.prompt_tokens
    is_cached = warm.usage.prompt_tokens_details.cached_tokens > warm.usage.prompt_tokens // 2
    assert is_cached == (llm.models().data[0].id not in NOT_INVARIANT)


def test_a_prompt_is_scored_the_same_cold_and_warm(llm: LLM) -> None:
    prompt = f"scored {llm.models().data[0].id} {TEXT}"
    fields: dict[str, Any] = {"prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 2}
    (cold,), (warm,) = llm.complete(**fields).choices, llm.complete(**fields).choices
    check_same(llm, cold, warm)
    assert cold.text == prompt
    assert cold.logprobs is not None
    assert cold.logprobs.token_logprobs[0] is None
    assert all(value is not None and value <= 0 for value in cold.logprobs.token_logprobs[1:])


def test_a_generated_token_has_the_score_that_it_has_as_a_prompt(llm: LLM) -> None:
    """The two are computed in different ways: token by token, and all at once."""
    tokens = llm.tokenize(prompt=TEXT).tokens
    (choice,) = choices(llm, prompt=tokens, logprobs=0)
    assert choice.logprobs is not None
    whole = tokens + list(choice.logprobs.token_ids)
    (scored,) = llm.complete(prompt=whole, max_tokens=0, echo=True, logprobs=0).choices
    assert scored.logprobs is not None
    assert scored.logprobs.token_logprobs[len(tokens) :] == pytest.approx(
        choice.logprobs.token_logprobs, abs=2e-3
    )


def test_a_stream_is_the_answer_in_parts(llm: LLM) -> None:
    fields: dict[str, Any] = {"prompt": TEXT, "seed": 7, "max_tokens": 12, "ignore_eos": True, "echo": True}
    chunks = list(llm.stream(**fields))
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text == choices(llm, **fields)[0].text


def test_a_stop_string_ends_a_choice_before_itself(llm: LLM) -> None:
    (whole,) = choices(llm, prompt=TEXT, max_tokens=24)
    stop = whole.text[len(whole.text) // 2 :][:3]
    (stopped,) = choices(llm, prompt=TEXT, max_tokens=24, stop=stop)
    assert (stopped.text, stopped.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")


def test_a_banned_token_is_never_drawn(llm: LLM) -> None:
    (choice,) = choices(llm, prompt=TEXT, logprobs=0)
    assert choice.logprobs is not None
    first = choice.logprobs.token_ids[0]
    (other,) = choices(llm, prompt=TEXT, logprobs=0, logit_bias={first: -100})
    assert other.logprobs is not None
    assert first not in other.logprobs.token_ids
