"""What a chat is made of: messages, each a text that somebody says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from engine.contract.messages import contract_error
from engine.contract.unsupported import MESSAGE
from engine.contract.validators import StrictModel, Text, check_no_nul, join_text_parts

ChatText = Annotated[Text, BeforeValidator(check_no_nul), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]


class TextPart(StrictModel):
    """A part of a message that has several."""

    type: Literal["text"] = Field(description="Other types are refused.")
    text: ChatText = Field(description="The text.")


_ContentForms = ChatText | Annotated[list[TextPart], Field(min_length=1)]


class Message(StrictModel):
    """One message of a chat."""

    model_config = ConfigDict(json_schema_extra={"patternProperties": MESSAGE.pattern_properties()})

    role: Annotated[ChatText, Field(min_length=1)] = Field(
        description="Who speaks, as the model's chat template has it.", examples=["user"]
    )
    content: Annotated[ChatText, BeforeValidator(join_text_parts, json_schema_input_type=_ContentForms)] = (
        Field(
            description="What is said: a text, or parts of text, which are joined by line breaks.",
            examples=["What is the capital of France?", [{"type": "text", "text": "Hi"}]],
        )
    )

    @model_validator(mode="before")
    @classmethod
    def _check_supported(cls, data: Any) -> Any:
        for name in MESSAGE.acting(data) if isinstance(data, Mapping) else ():
            raise contract_error(f"should have no {name!r}, which is not supported")
        return data


class Chat(NamedTuple):
    """A prompt that the model's chat template has to make."""

    messages: list[Message]
    add_generation_prompt: bool = True
    """Whether it ends with what begins an answer."""
    continue_final_message: bool = False
    """Whether it ends where the content of the last message does, so that the answer continues that."""
