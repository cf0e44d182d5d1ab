"""The request of the chat shape: which fields it has, and the completion that it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import override

from engine.contract.conversation import Chat, Message
from engine.contract.fields import GenerationRequest, Wanted
from engine.contract.messages import contract_error
from engine.contract.requests import CompletionRequest
from engine.contract.schema_rules import describe_chat_rules
from engine.contract.unsupported import CHAT, UnsupportedFields

if TYPE_CHECKING:
    from engine.contract.limits import Limits


class ChatRequest(GenerationRequest):
    """One request for the next message of a chat, valid on its own."""

    model_config = ConfigDict(json_schema_extra=describe_chat_rules)
    unsupported: ClassVar[UnsupportedFields] = CHAT

    messages: list[Message] = Field(
        min_length=1,
        description="The chat, of which the model's own template makes the prompt; 400 when it has none.",
        examples=[[{"role": "user", "content": "What is the capital of France?"}]],
    )
    max_completion_tokens: int | None = Field(
        None,
        ge=1,
        le=1 << 31,
        description="Most tokens to generate for a choice; null: as many as the model's context leaves. "
        "Prompt and answer together must fit the context.",
        examples=[16],
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        le=1 << 31,
        description="The older name of `max_completion_tokens`; both together must be equal.",
        examples=[16],
    )
    logprobs: bool = Field(False, description="Report each token's log probability.")
    top_logprobs: int = Field(
        0,
        ge=0,
        description="Report so many most probable tokens beside each token; only with `logprobs`. The server "
        "sets the limit.",
    )
    add_generation_prompt: bool = Field(
        True,
        description="End the prompt with what begins an answer; without it the model writes that itself. Not "
        "with `continue_final_message`, where it is off.",
    )
    continue_final_message: bool = Field(
        False,
        description="Continue the last message, which must be of the role `assistant`; `content` is what "
        "follows it.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        given = self.max_completion_tokens
        if None not in (given, self.max_tokens) and given != self.max_tokens:
            raise contract_error(
                f"max_tokens: should be equal to 'max_completion_tokens' ({given}), not {self.max_tokens}"
            )
        most = self._most_tokens
        if most is not None and self.min_tokens > most:
            field = "max_tokens" if given is None else "max_completion_tokens"
            raise contract_error(f"min_tokens: should be at most '{field}' ({most}), not {self.min_tokens}")
        if self.top_logprobs and not self.logprobs:
            raise contract_error("top_logprobs: is only allowed together with 'logprobs': true")
        if self.continue_final_message:
            self._check_continuation()
        return self

    def _check_continuation(self) -> None:
        if self.add_generation_prompt and "add_generation_prompt" in self.model_fields_set:
            raise contract_error(
                "add_generation_prompt: is not allowed together with 'continue_final_message': true"
            )
        role = self.messages[-1].role
        if role != "assistant":
            raise contract_error(
                f"continue_final_message: needs a last message of the role 'assistant', not {role!r:.80}"
            )

    @property
    def _most_tokens(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    @override
    def prompts(self) -> list[Chat]:
        begins = self.add_generation_prompt and not self.continue_final_message
        return [Chat(self.messages, begins, self.continue_final_message)]

    @property
    @override
    def wanted(self) -> Wanted:
        if self.max_completion_tokens is not None:
            return Wanted("max_completion_tokens", self.max_completion_tokens)
        if self.max_tokens is not None:
            return Wanted("max_tokens", self.max_tokens)
        return Wanted("min_tokens", self.min_tokens) if self.min_tokens > 1 else Wanted("messages", 1)

    @override
    def check(self, limits: Limits) -> None:
        limits.check_logprobs("top_logprobs", self.top_logprobs)
        limits.check_choices("n", self.n, n_prompts=1)

    def completion(self, room: int) -> CompletionRequest:
        """Return the completion that this asks for, which is valid.

        Args:
            room: Tokens that the context leaves behind the prompt.
        """
        shared = {name: getattr(self, name) for name in GenerationRequest.model_fields}
        return CompletionRequest.model_construct(
            **shared,
            messages=self.messages,
            max_tokens=room if self._most_tokens is None else self._most_tokens,
            logprobs=self.top_logprobs if self.logprobs else None,
        )
