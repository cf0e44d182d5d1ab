"""What one server allows, beyond the ranges of the contract."""

from __future__ import annotations

from dataclasses import dataclass

from engine.contract.messages import refuse


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server, which :meth:`engine.contract.fields.GenerationRequest.check` keeps."""

    max_logprobs: int = 5
    max_prompts: int = 256
    max_sequences: int = 1024
    """Most choices of one request, over all its prompts."""

    def check_logprobs(self, field: str, count: int) -> None:
        """Refuse a field that asks for too many alternatives of each token.

        Raises:
            InvalidRequestError: naming the field, the limit and the value.
        """
        if count > self.max_logprobs:
            refuse(field, f"should be at most {self.max_logprobs}", count)

    def check_prompts(self, field: str, count: int) -> None:
        """Refuse a field that has too many prompts.

        Raises:
            InvalidRequestError: naming the field, the limit and the value.
        """
        if count > self.max_prompts:
            refuse(field, f"should hold at most {self.max_prompts} prompts", count)

    def check_choices(self, field: str, count: int, *, n_prompts: int) -> None:
        """Refuse a field that asks for too many choices of each prompt.

        Raises:
            InvalidRequestError: naming the field, the limit and the value.
        """
        if n_prompts * count > self.max_sequences:
            limit = f"times the number of prompts ({n_prompts}) should be at most {self.max_sequences}"
            refuse(field, limit, count)
