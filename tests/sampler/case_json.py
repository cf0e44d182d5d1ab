"""A case as JSON, and back: every number keeps all of its bits."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.sampling import SamplingParams
from tests.sampler.case import Case, Step
from tests.sampler.oracle import Choice

if TYPE_CHECKING:
    from numpy.typing import NDArray


def to_json(case: Case) -> dict[str, Any]:
    """Return a case as what JSON can say; the sign of a NaN is lost."""
    return {
        "n_vocab": case.n_vocab,
        "max_logprobs": case.max_logprobs,
        "choices": [_choice_to_json(choice) for choice in case.choices],
        "steps": [
            {
                "logits": [" ".join(map(_hex, row.tolist())) for row in step.logits],
                "slots": step.slots,
                "rows": step.rows,
                "masks": None if step.masks is None else step.masks.tolist(),
                "mask_rows": step.mask_rows,
                "resumed": step.resumed,
            }
            for step in case.steps
        ],
    }


def from_json(data: dict[str, Any]) -> Case:
    """Return the case that :func:`to_json` wrote."""
    return Case(
        n_vocab=data["n_vocab"],
        max_logprobs=data["max_logprobs"],
        choices=[_choice_from_json(choice) for choice in data["choices"]],
        steps=[
            Step(
                logits=np.array(
                    [list(map(float.fromhex, row.split())) for row in step["logits"]], np.float32
                ).reshape(-1, data["n_vocab"]),
                slots=step["slots"],
                rows=step["rows"],
                masks=_masks_from_json(step.get("masks"), data["n_vocab"]),
                mask_rows=step.get("mask_rows"),
                resumed=step["resumed"],
            )
            for step in data["steps"]
        ],
    )


def _masks_from_json(masks: list[list[int]] | None, n_vocab: int) -> NDArray[np.int32] | None:
    return None if masks is None else np.array(masks, np.int32).reshape(-1, -(-n_vocab // 32))


def _hex(value: float) -> str:
    return re.sub(r"\.?0+p", "p", value.hex()) if math.isfinite(value) else str(value)


def _choice_to_json(choice: Choice) -> dict[str, Any]:
    """Return the parameters that are not the default, and what the slot has seen."""
    default = SamplingParams(seed=choice.params.seed)
    params: dict[str, Any] = {"seed": choice.params.seed}
    for each in fields(SamplingParams):
        value = getattr(choice.params, each.name)
        if value != getattr(default, each.name):
            params[each.name] = _hex(value) if isinstance(value, float) else value
    if choice.params.logit_bias:
        params["logit_bias"] = {str(token): _hex(bias) for token, bias in choice.params.logit_bias.items()}
    seen = {"prompt": list(choice.prompt), "generated": list(choice.generated)}
    return {"params": params, "stream": choice.stream} | {key: ids for key, ids in seen.items() if ids}


def _choice_from_json(data: dict[str, Any]) -> Choice:
    given = data["params"]
    params: dict[str, Any] = {
        key: float.fromhex(value) if isinstance(value, str) else value for key, value in given.items()
    }
    if "logit_bias" in given:
        params["logit_bias"] = {
            int(token): float.fromhex(value) for token, value in given["logit_bias"].items()
        }
    return Choice(
        SamplingParams(**params),
        stream=data["stream"],
        prompt=data.get("prompt", []),
        generated=data.get("generated", []),
    )
