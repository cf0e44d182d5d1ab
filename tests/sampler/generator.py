"""Cases for the fuzzer: each one a pure function of an integer, and as nasty as the contract allows."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from engine.sampling import SamplingParams
from tests.sampler.case import Case, Step
from tests.sampler.oracle import Choice, Floats, mask_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

VERSION = 2
"""Goes up with every change that makes another case of a seed. Version 1 is the same without masks."""

FLOAT32_MAX = 3.4028234663852886e38
EDGES = [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256]
SPECIALS = [0.0, -0.0, 1e-45, -1e-45, 1.2e-38, -1.2e-38, 1.0, -1.0, 88.7, -88.7, -103.9, -104.0, 708.0]
SPECIALS += [-708.0, -709.0, -745.2, 1e4, -1e4, 1e30, -1e30, FLOAT32_MAX, -FLOAT32_MAX, -np.inf]


def random_case(seed: int, version: int = VERSION) -> Case:
    """Return the case of a seed."""
    rng, dice = np.random.default_rng(seed), Random(seed)  # noqa: S311 - numpy's is slow for single numbers
    n_vocab = random_vocab(dice)
    max_logprobs = dice.choice([0, 1, 5, 20, 33])
    choices: list[Choice] = []
    for _ in range(dice.choice([1, 2, 3, 4, 8]) if n_vocab <= 5_000 else 2):
        if choices and dice.random() < 0.4:
            choices.append(sibling(dice, choices[-1], max_logprobs))
        else:
            choices.append(random_choice(dice, n_vocab, max_logprobs))
    steps = [random_step(rng, dice, n_vocab, len(choices)) for _ in range(dice.choice([1, 1, 2, 4]))]
    if version > 1:
        for step in steps:
            add_masks(rng, dice, step)
    return Case(n_vocab, max_logprobs, choices, steps)


def random_vocab(dice: Random) -> int:
    """Mostly few tokens, around the sizes of blocks and lanes; now and then a real vocabulary."""
    luck = dice.random()
    if luck < 0.0005:
        return 262_144
    if luck < 0.002:
        return 49_152
    return dice.choice(EDGES) if luck < 0.5 else round(math.pow(5_000, dice.random()))


# --- choices ------------------------------------------------------------------------------------------------


def random_choice(dice: Random, n_vocab: int, max_logprobs: int) -> Choice:
    """Return a choice: each parameter is off half of the time, within reason, or extreme."""
    params = SamplingParams(
        seed=random_seed(dice),
        temperature=_some(dice, 1.0, [0.0, 0.7, 1.3], [5e-324, 1e-300, 1e-3, 0.01, 50.0, 1e10, 1e300]),
        top_p=_some(
            dice,
            1.0,
            [0.1, 0.5, 0.9, 0.95, 0.999, dice.uniform(1e-3, 1)],
            [5e-324, 1e-300, 1e-6, 1 - 1e-6, 1 - 1e-12, 1 - 2**-53],
        ),
        top_k=dice.choice([0, 0, 0, 1, 2, 40, dice.randrange(1, n_vocab + 2), n_vocab, n_vocab + 1, 2**40]),
        min_p=_some(dice, 0.0, [0.0, 0.05, 0.3], [5e-324, 1e-300, 1e-9, 1 - 2**-53, 1.0]),
        presence_penalty=_penalty(dice),
        frequency_penalty=_penalty(dice),
        repetition_penalty=_some(
            dice, 1.0, [1.0, 1.1, dice.uniform(0.5, 2)], [5e-324, 1e-308, 1e-5, 1e5, 1e308, 1.7e308]
        ),
        logit_bias=random_bias(dice, n_vocab),
        logprobs=random_logprobs(dice, max_logprobs),
    )
    most = dice.choice([0, 4, 12, 12, 300])
    prompt, generated = ([dice.randrange(n_vocab) for _ in range(dice.randint(0, most))] for _ in range(2))
    return Choice(params, random_stream(dice), prompt, generated)


def sibling(dice: Random, choice: Choice, max_logprobs: int) -> Choice:
    """Return another choice of the same request, with the same past or none."""
    params = choice.params
    copied = SamplingParams(
        seed=random_seed(dice),
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        repetition_penalty=params.repetition_penalty,
        logit_bias=params.logit_bias,
        logprobs=random_logprobs(dice, max_logprobs),
    )
    return Choice(copied, random_stream(dice), choice.prompt, choice.generated if dice.random() < 0.5 else [])


def random_bias(dice: Random, n_vocab: int) -> dict[int, float]:
    """Return no bias, a few, or a ban on nearly every token."""
    luck = dice.random()
    if luck < 0.6:
        return {}
    if luck < 0.65 and n_vocab <= 300:
        return {token: -np.inf for token in range(n_vocab) if dice.random() < 0.98}
    values = [-100.0, -1.5, 3.25, 100.0, -np.inf, -np.inf, 1e308, -1e308, 1.7e308, -1.7e308, 5e-324, 0.0]
    return {dice.randrange(n_vocab): dice.choice(values) for _ in range(dice.randint(1, 6))}


def random_logprobs(dice: Random, max_logprobs: int) -> int | None:
    """Return how many alternatives are asked for, or None."""
    return None if dice.random() < 0.3 else dice.choice([0, max_logprobs, dice.randint(0, max_logprobs)])


def random_seed(dice: Random) -> int:
    """Return a seed, often a limit."""
    return dice.choice([0, 1, 2**32, 2**64 - 1, dice.getrandbits(64), dice.getrandbits(64)])


def random_stream(dice: Random) -> int:
    """Return a stream, often a limit."""
    return dice.choice([0, 1, 2**32 - 1, dice.getrandbits(32)])


def _some(dice: Random, off: float, usual: list[float], extreme: list[float]) -> float:
    return dice.choice(dice.choices([[off], usual, extreme], [5, 4, 1])[0])


def _penalty(dice: Random) -> float:
    return _some(
        dice, 0.0, [-2.0, 2.0, dice.uniform(-2, 2)], [1e308, -1e308, 1.7e308, -1.7e308, 5e-324, 1e10]
    )


# --- rows of logits -----------------------------------------------------------------------------------------


def random_step(rng: np.random.Generator, dice: Random, n_vocab: int, n_slots: int) -> Step:
    """Return a call: some of the slots in any order, on rows of their own or on few rows for all of them."""
    slots = dice.sample(range(n_slots), dice.randint(1, n_slots))
    rows = None
    n_rows = len(slots)
    if dice.random() < 0.6:
        n_rows = dice.choice([1, 2, len(slots) + 1])
        rows = [dice.randrange(n_rows) for _ in slots]
        if dice.random() < 0.5:
            rows.sort()
    logits = np.stack([random_row(rng, n_vocab) for _ in range(n_rows)])
    resumed = [slot for slot in range(n_slots) if dice.random() < 0.1]
    with np.errstate(over="ignore"):
        return Step(logits.astype(np.float32), slots, rows, resumed)


def add_masks(rng: np.random.Generator, dice: Random, step: Step) -> None:
    """Give a call masks, more often than not: one for each slot, or a few for all."""
    luck, n_vocab, n = dice.random(), step.logits.shape[1], len(step.slots)
    if luck < 0.4:
        return
    n_masks = n
    if luck > 0.6:
        n_masks = dice.choice([1, 2, n + 1])
        step.mask_rows = [dice.choice([-1, *range(n_masks)]) for _ in range(n)]
        if dice.random() < 0.5:
            step.mask_rows.sort()
    rows = [random_mask(rng, dice, step.logits[dice.randrange(len(step.logits))]) for _ in range(n_masks)]
    step.masks = np.stack(rows).reshape(n_masks, -(-n_vocab // 32))


def random_mask(rng: np.random.Generator, dice: Random, row: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return a mask of any density, of single tokens, of all but a few, of runs, or against a row's best."""
    n = len(row)
    kind = dice.randrange(6)
    few = np.isin(np.arange(n), [dice.randrange(n) for _ in range(dice.choice([0, 1, 1, 3, 30]))])
    if kind < 2:
        allowed = few if kind == 0 else ~few
    elif kind == 2:
        allowed = rng.random(n) < dice.choice([0.003, 0.02, 0.1, 0.5, 0.9, 0.99])
    elif kind == 3:  # runs, so that whole groups are allowed, or not
        allowed = np.repeat(rng.random(-(-n // 256)) < 0.5, 256)[:n] ^ few
    elif kind == 4:  # without the best tokens
        allowed = np.argsort(np.argsort(-row)) >= n * dice.choice([0.001, 0.1, 0.5, 0.9])
    else:
        allowed = np.full(n, True)
    return mask_of(allowed, beyond=dice.random() < 0.5)


def random_row(rng: np.random.Generator, n_vocab: int) -> Floats:
    """Return a row of one of the shapes; some are put in order, thinned out, or discard."""
    row = SHAPES[int(rng.integers(len(SHAPES)))](rng, n_vocab)
    luck = rng.random()
    if luck < 0.05:
        row = np.sort(row)
    elif luck < 0.1:
        row = -np.sort(-row)
    elif luck < 0.25:
        row = np.where(rng.random(n_vocab) < rng.choice([0.1, 0.5, 0.99]), -np.inf, row)
    elif luck < 0.35:
        discard = rng.random(n_vocab) < rng.choice([1.0 / n_vocab, 0.5, 1.0])
        row = np.where(discard, rng.choice([np.nan, -np.nan, np.inf, -np.inf, -np.inf]), row)
    return np.clip(row, -FLOAT32_MAX, FLOAT32_MAX) if np.isfinite(row).all() else row


def _one(rng: np.random.Generator, values: Sequence[float]) -> float:
    return float(rng.choice(values))


def _normal(rng: np.random.Generator, n: int) -> Floats:
    return rng.normal(0.0, 10.0 ** rng.uniform(-3, 2), n) + _one(rng, [0.0, -300.0, 50.0])


def _tied(rng: np.random.Generator, n: int) -> Floats:
    return np.round(rng.normal(0.0, _one(rng, [0.5, 2.0, 30.0]), n))


def _equal(rng: np.random.Generator, n: int) -> Floats:
    return np.full(n, _one(rng, SPECIALS))


def _two_values(rng: np.random.Generator, n: int) -> Floats:
    low, high = _one(rng, SPECIALS), _one(rng, SPECIALS)
    return np.where(rng.random(n) < _one(rng, [0.01, 0.5, 0.99]), low, high)


def _two_close_values(rng: np.random.Generator, n: int) -> Floats:
    low = _one(rng, [1.0, -17.5, 1e-45, 300.0, 1e30])
    high = float(np.nextafter(np.float32(low), np.float32(np.inf)))
    return np.where(rng.random(n) < 0.5, low, high)


def _geometric(rng: np.random.Generator, n: int) -> Floats:
    ratio = _one(rng, [np.log(2.0), 0.1, 1.0, 10.0, 1.0 / n])
    return -ratio * rng.permutation(n).astype(np.float64)


def _zipf(rng: np.random.Generator, n: int) -> Floats:
    return -_one(rng, [0.5, 1.0, 2.0]) * np.log(1.0 + rng.permutation(n).astype(np.float64))


def _spike(rng: np.random.Generator, n: int) -> Floats:
    row = np.full(n, _one(rng, [0.0, -5.0, -1e30])) + rng.normal(0, _one(rng, [0.0, 1.0]), n)
    row[rng.integers(n)] += _one(rng, [1e-6, 1.0, 10.0, 88.0, 707.9, 708.0, 708.1, 1e20, 1e38])
    return row


def _denormal(rng: np.random.Generator, n: int) -> Floats:
    return rng.integers(-5, 6, n).astype(np.float64) * 2.0**-149


def _huge(rng: np.random.Generator, n: int) -> Floats:
    return rng.normal(0.0, 1e38, n)


def _special(rng: np.random.Generator, n: int) -> Floats:
    return rng.choice(SPECIALS, n)


def _ramp(rng: np.random.Generator, n: int) -> Floats:
    return np.linspace(0.0, -_one(rng, [1.0, 30.0, 87.0, 104.0, 708.0, 1500.0]), n)


def _clusters(rng: np.random.Generator, n: int) -> Floats:
    centres = rng.normal(0.0, 10.0, 4)
    return rng.choice(centres, n) + rng.normal(0.0, _one(rng, [1e-7, 1e-4, 0.01]), n)


def _any_bits(rng: np.random.Generator, n: int) -> Floats:
    bits = rng.integers(0, 2**32, n, np.uint32).view(np.float32)
    return np.where(np.isfinite(bits), bits, np.float32(0)).astype(np.float64)


SHAPES: list[Callable[[np.random.Generator, int], Floats]] = [
    _normal,
    _normal,
    _normal,
    _tied,
    _equal,
    _two_values,
    _two_close_values,
    _geometric,
    _zipf,
    _spike,
    _denormal,
    _huge,
    _special,
    _ramp,
    _clusters,
    _any_bits,
]
