"""Fields of other servers that would change what an answer means; they are refused, not ignored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NOTHING: tuple[object, ...] = (None, False, "", [], {})
"""Values by which nothing is asked for, whatever the field."""

_FIELDS: dict[str, tuple[object, ...]] = {
    # the form of the answer
    **dict.fromkeys(("grammar_lazy", "grammar_triggers", "guided_whitespace_pattern"), _NOTHING),
    **dict.fromkeys(("structural_tag", "ebnf", "regex"), _NOTHING),
    # tools, other media, other models
    **dict.fromkeys(("tools", "functions", "web_search_options", "documents"), _NOTHING),
    **dict.fromkeys(("tool_choice", "function_call"), (*_NOTHING, "none", "auto")),
    "modalities": (*_NOTHING, ["text"]),
    **dict.fromkeys(("audio", "image_data", "images", "multi_modal_data", "prompt_embeds"), _NOTHING),
    **dict.fromkeys(
        ("lora", "lora_request", "adapter_id", "chat_template", "chat_template_kwargs"), _NOTHING
    ),
    **dict.fromkeys(("reasoning", "reasoning_effort"), (*_NOTHING, "none")),
    # what of the prompt or the answer counts
    "truncate_prompt_tokens": (*_NOTHING, 0),
    **dict.fromkeys(("prompt_logprobs", "return_tokens_as_token_ids"), _NOTHING),
    **dict.fromkeys(("allowed_token_ids", "bad_words", "logprob_token_ids", "logits_processors"), _NOTHING),
    **dict.fromkeys(("add_special_tokens", "skip_special_tokens", "do_sample"), (None, True)),
    **dict.fromkeys(("return_tokens", "post_sampling_probs"), _NOTHING),
    **dict.fromkeys(("n_indent", "t_max_predict_ms"), (*_NOTHING, 0)),
    "n_cmpl": (*_NOTHING, 1),
    "verbosity": (*_NOTHING, "medium"),
    "logit_bias_type": (*_NOTHING, "input_ids"),
    # other ways to choose a token
    "repeat_last_n": (*_NOTHING, -1),  # penalties look at the whole text
    "min_keep": (*_NOTHING, 0, 1),
    **dict.fromkeys(("samplers", "sampler_order"), _NOTHING),
    **dict.fromkeys(("use_beam_search", "num_beams"), (*_NOTHING, 0, 1)),
    **dict.fromkeys(
        (
            "mirostat",
            "mirostat_mode",
            "dry_multiplier",
            "xtc_probability",
            "dynatemp_range",
            "smoothing_factor",
        ),
        (*_NOTHING, 0),
    ),
    **dict.fromkeys(
        ("top_a", "epsilon_cutoff", "eta_cutoff", "no_repeat_ngram_size", "penalty_alpha"), (*_NOTHING, 0)
    ),
    **dict.fromkeys(("typical_p", "typical", "tfs_z", "tfs"), (*_NOTHING, 0, 1)),
    "top_n_sigma": (*_NOTHING, 0, -1),
    "adaptive_target": (*_NOTHING, -1),
}
"""Of every kind of request: name -> the values that change nothing."""


@dataclass(frozen=True, slots=True)
class UnsupportedFields:
    """What one kind of request refuses.

    Attributes:
        inert: Name -> the values that change nothing.
        other_names: Name elsewhere -> name here.
    """

    inert: Mapping[str, tuple[object, ...]]
    other_names: Mapping[str, str]

    def check(self, fields: Mapping[str, Any]) -> None:
        """Refuse a field that would change what the answer means, unless its value asks for nothing.

        Raises:
            InvalidRequestError: naming the field.
        """
        for name, value in fields.items():
            if name in self.other_names and value is not None:
                here = self.other_names[name]
                raise InvalidRequestError(f"{name!r} is unknown here; use {here!r}.", param=name)
        for name in self.acting(fields):
            raise InvalidRequestError(
                f"{name!r} is not supported; the answer would not be what it asks for.", param=name
            )

    def acting(self, fields: Mapping[str, Any]) -> Iterator[str]:
        """Yield the names of fields that ask for something."""
        for name, value in fields.items():
            if name in self.inert and not any(_is_same(value, inert) for inert in self.inert[name]):
                yield name

    def pattern_properties(self) -> dict[str, Any]:
        """Return what a JSON schema says of these fields: a pattern of names -> the values that are taken."""
        names: dict[str, list[str]] = {}
        values = {**self.inert, **dict.fromkeys(self.other_names, (None,))}
        for name, inert in values.items():
            names.setdefault(json.dumps(inert), []).append(name)
        description = "Not supported: refused, unless it asks for nothing."
        return {
            f"^({'|'.join(group)})$": {"enum": json.loads(inert), "description": description}
            for inert, group in names.items()
        }


COMPLETIONS: Final = UnsupportedFields(
    {**_FIELDS, "continue_final_message": (*_NOTHING, 0), "add_generation_prompt": (None, True)},
    {
        **dict.fromkeys(("max_completion_tokens", "max_new_tokens", "max_length", "n_predict"), "max_tokens"),
        **dict.fromkeys(("n_probs", "top_logprobs"), "logprobs"),
        "stop_sequences": "stop",
        "min_length": "min_tokens",
    },
)
CHAT: Final = UnsupportedFields(
    {**_FIELDS, "best_of": (None, 1), "echo": (None, False), "suffix": (None, "")},
    {
        **dict.fromkeys(("max_new_tokens", "max_length", "n_predict"), "max_completion_tokens"),
        "n_probs": "top_logprobs",
        "prompt": "messages",
        "stop_sequences": "stop",
        "min_length": "min_tokens",
    },
)
MESSAGE: Final = UnsupportedFields(dict.fromkeys(("tool_calls", "function_call", "audio"), _NOTHING), {})


def _is_same(value: Any, inert: object) -> bool:
    """Return True if two values are equal in JSON, where ``false`` is not 0."""
    return bool(value == inert) and isinstance(value, bool) == isinstance(inert, bool)
