"""The completions contract: every field with its range, default and cap, once, for all doors.

A door turns its wire into a mapping of plain Python values and calls
:func:`engine.contract.parsing.parse_request`, which returns one of these requests or a
:class:`engine.contract.chat.ChatRequest`; nothing else validates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from typing_extensions import override

from engine.contract.conversation import Chat, Message
from engine.contract.fields import Gap, GenerationRequest, GivenPrompt, TokenId, Wanted
from engine.contract.kwargs import PromptInput
from engine.contract.messages import contract_error
from engine.contract.schema_rules import describe_rules
from engine.contract.unsupported import COMPLETIONS, UnsupportedFields
from engine.contract.validators import CHECK_TEXT, StrictModel, Text, check_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.contract.limits import Limits

MAX_BEST_OF = 20
"""Most candidates of one prompt of which the best are returned."""

_PromptForms = (
    Text
    | Annotated[list[Text], Field(min_length=1)]
    | Annotated[list[TokenId], Field(min_length=1)]
    | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1)]
)
_Prompt = Annotated[
    PromptInput, CHECK_TEXT, BeforeValidator(check_prompt, json_schema_input_type=_PromptForms)
]


class CompletionRequest(GenerationRequest):
    """One request, valid on its own; :meth:`check` compares it with one server's limits."""

    model_config = ConfigDict(json_schema_extra=describe_rules)
    unsupported: ClassVar[UnsupportedFields] = COMPLETIONS

    prompt: _Prompt | None = Field(
        None,
        description="What to continue: a text, texts, the token ids of one prompt, or those of several. "
        "Special tokens are added to text as the model asks, never to ids. Exactly one of `prompt` and "
        "`messages` is required.",
        examples=[
            "The capital of France is",
            ["The capital of France is", "天气非常好"],
            [9, 4, 27],
            [[9, 4], [27]],
        ],
    )
    messages: list[Message] | None = Field(
        None,
        min_length=1,
        description="A chat, of which the model's own chat template makes the prompt; 400 when it has none.",
        examples=[[{"role": "user", "content": "What is the capital of France?"}]],
    )
    max_tokens: int = Field(
        16,
        ge=0,
        le=1 << 31,
        description="Most tokens to generate for a choice; 0 only with `echo`. Prompt and completion "
        "together must fit the model's context.",
    )
    best_of: int | None = Field(
        None,
        ge=1,
        le=MAX_BEST_OF,
        description="Candidates for each prompt, of which the `n` with the highest mean log probability per "
        "token are returned. At least `n`, which is the default; no more than `n` with `stream`.",
    )
    logprobs: int | None = Field(
        None,
        ge=0,
        description="Report each token's log probability, and so many most probable tokens beside it; null: "
        "none of it. The server sets the limit.",
        examples=[1],
    )
    echo: bool = Field(
        False, description="Put the prompt before the answer, its tokens too where `logprobs` is set."
    )
    suffix: Text = Field(
        "",
        description="Text behind the gap that the answer is to fill. Only for models with fill-in-the-middle "
        "tokens, otherwise 400; empty: none.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            given = "neither" if self.prompt is None else "both"
            raise contract_error(f"prompt: exactly one of 'prompt' and 'messages' is required, {given} given")
        if self.max_tokens == 0 and not self.echo:
            raise contract_error("max_tokens: should be at least 1, unless 'echo' is true, not 0")
        if self.min_tokens > self.max_tokens:
            raise contract_error(
                f"min_tokens: should be at most 'max_tokens' ({self.max_tokens}), not {self.min_tokens}"
            )
        if self.candidates < self.n:
            raise contract_error(f"best_of: should be at least 'n' ({self.n}), not {self.best_of}")
        if self.stream and self.candidates > self.n:
            raise contract_error(f"best_of: should be 'n' ({self.n}) in a stream, not {self.best_of}")
        if self.suffix and self.prompt is None:
            raise contract_error("suffix: is only allowed together with 'prompt', not with 'messages'")
        if self.suffix and self.echo:
            raise contract_error("suffix: is not allowed together with 'echo': true")
        if self.resume_token_ids:
            self._check_one_choice()
        return self

    def _check_one_choice(self) -> None:
        if self.candidates > 1:
            raise contract_error(f"best_of: should be 1 together with 'resume_token_ids', not {self.best_of}")
        if len(self.prompts) > 1:
            count = len(self.prompts)
            raise contract_error(f"prompt: should be one together with 'resume_token_ids', not {count}")
        if self.echo:
            raise contract_error(
                "echo: is not allowed together with 'resume_token_ids', before which the prompt was sent"
            )

    @property
    def candidates(self) -> int:
        """How many choices are generated for each prompt; the best ``n`` are returned."""
        return self.n if self.best_of is None else self.best_of

    @property
    @override
    def prompts(self) -> Sequence[GivenPrompt]:
        if self.messages is not None:
            return [Chat(self.messages)]
        prompts = self._split()
        return [Gap(prompt, self.suffix) for prompt in prompts] if self.suffix else prompts

    def _split(self) -> Sequence[str | list[int]]:
        prompt = self.prompt or ""
        if isinstance(prompt, str):
            return [prompt]
        ids = [token for token in prompt if isinstance(token, int)]
        return [ids] if ids else [item for item in prompt if not isinstance(item, int)]

    @property
    @override
    def wanted(self) -> Wanted:
        return Wanted("max_tokens", self.max_tokens)

    @override
    def check(self, limits: Limits) -> None:
        n_prompts = len(self.prompts)
        limits.check_logprobs("logprobs", self.logprobs or 0)
        limits.check_prompts("prompt", n_prompts)
        field = "n" if self.candidates == self.n else "best_of"
        limits.check_choices(field, self.candidates, n_prompts=n_prompts)

    def completion(self, room: int) -> Self:  # noqa: ARG002 - a chat needs it
        """Return this request; :meth:`engine.contract.chat.ChatRequest.completion` has more to do."""
        return self


class TokenizeRequest(StrictModel):
    """A text whose tokens are asked for."""

    prompt: Text = Field(description="The text.", examples=["The capital of France is"])
    add_special_tokens: bool = Field(True, description="Add the tokens that a prompt begins or ends with.")
    model: Text | None = Field(
        None, description="Name of the model; 404 when the server serves another. Null: whichever it serves."
    )


class DetokenizeRequest(StrictModel):
    """Tokens whose text is asked for."""

    tokens: list[TokenId] = Field(description="Token ids.", examples=[[9, 4, 27]])
    model: Text | None = Field(
        None, description="Name of the model; 404 when the server serves another. Null: whichever it serves."
    )
