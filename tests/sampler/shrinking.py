"""Make a case that fails smaller, so that a person can see why."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

from engine.sampling import SamplingParams
from tests.sampler.oracle import Choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sampler.case import Case, Step


def shrink(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Return a case that still fails and of which no simpler one tried here does."""
    while True:
        smaller = next((candidate for candidate in _simpler(case) if fails(candidate)), None)
        if smaller is None:
            return case
        case = smaller


def _simpler(case: Case) -> Iterator[Case]:
    """Cases with one thing less, what takes most away first."""
    steps = case.steps
    for i in range(len(steps)):
        yield replace(case, steps=steps[:i] + steps[i + 1 :])
    for i, step in enumerate(steps):
        for smaller in _simpler_steps(step):
            yield replace(case, steps=[*steps[:i], smaller, *steps[i + 1 :]])
    for share in (2, 8, 64):
        if case.n_vocab >= share:
            yield _narrowed(case, case.n_vocab - case.n_vocab // share)
    used = {slot for step in steps for slot in (*step.slots, *step.resumed)}
    for slot in range(len(case.choices)):
        if slot not in used:
            yield _without_choice(case, slot)
    for slot, choice in enumerate(case.choices):
        for simpler in _simpler_choices(choice):
            yield replace(case, choices=[*case.choices[:slot], simpler, *case.choices[slot + 1 :]])


def _simpler_steps(step: Step) -> Iterator[Step]:
    if step.resumed:
        yield replace(step, resumed=[])
    if step.masks is not None:
        yield replace(step, masks=None, mask_rows=None)
    rows = list(range(len(step.slots))) if step.rows is None else step.rows
    if len(step.slots) > 1:
        for i in range(len(step.slots)):
            fewer = _without(list(range(len(step.slots))) if step.mask_rows is None else step.mask_rows, i)
            yield replace(
                step,
                slots=_without(step.slots, i),
                rows=_without(rows, i),
                mask_rows=None if step.masks is None else fewer,
            )
    used = sorted(set(rows))
    if len(used) < len(step.logits):
        yield replace(step, logits=step.logits[used], rows=[used.index(row) for row in rows])


def _without(numbers: list[int], i: int) -> list[int]:
    return numbers[:i] + numbers[i + 1 :]


def _without_choice(case: Case, gone: int) -> Case:
    """Return the case without a slot that no step draws from."""

    def renumbered(slots: list[int]) -> list[int]:
        return [slot - (slot > gone) for slot in slots]

    steps = [
        replace(step, slots=renumbered(step.slots), resumed=renumbered(step.resumed)) for step in case.steps
    ]
    return replace(case, choices=case.choices[:gone] + case.choices[gone + 1 :], steps=steps)


def _narrowed(case: Case, n_vocab: int) -> Case:
    """Return the case with the first tokens only."""

    def cut(choice: Choice) -> Choice:
        bias = {token: value for token, value in choice.params.logit_bias.items() if token < n_vocab}
        prompt, generated = (
            [token for token in ids if token < n_vocab] for ids in (choice.prompt, choice.generated)
        )
        return Choice(replace(choice.params, logit_bias=bias), choice.stream, prompt, generated)

    steps = [
        replace(
            step,
            logits=np.ascontiguousarray(step.logits[:, :n_vocab]),
            masks=None if step.masks is None else np.ascontiguousarray(step.masks[:, : -(-n_vocab // 32)]),
        )
        for step in case.steps
    ]
    return replace(case, n_vocab=n_vocab, choices=list(map(cut, case.choices)), steps=steps)


def _simpler_choices(choice: Choice) -> Iterator[Choice]:
    default = SamplingParams(seed=choice.params.seed)
    for each in fields(SamplingParams):
        usual = getattr(default, each.name)
        if getattr(choice.params, each.name) != usual:
            yield replace(choice, params=replace(choice.params, **{each.name: usual}))
    for kept in (0, len(choice.prompt) // 2, len(choice.prompt) - 1):
        if 0 <= kept < len(choice.prompt):
            yield replace(choice, prompt=choice.prompt[:kept])
    for kept in (0, len(choice.generated) // 2, len(choice.generated) - 1):
        if 0 <= kept < len(choice.generated):
            yield replace(choice, generated=choice.generated[:kept])
