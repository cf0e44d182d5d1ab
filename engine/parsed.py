"""Answers that are JSON, read as what Python code asked for."""

from __future__ import annotations

import json
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import PrivateAttr, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import from_json
from typing_extensions import override

from engine.contract.chat_responses import ChatChoice, ChatCompletion
from engine.contract.responses import Answer, Choice, Completion
from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core.core_schema import DataclassSchema, ModelSchema, TypedDictSchema

T = TypeVar("T")


class _Parsed(Answer, Generic[T]):
    """A choice that is JSON."""

    _adapter: TypeAdapter[T] = PrivateAttr()

    @cached_property
    def parsed(self) -> T | None:
        """What the text says; None if the text was cut off, by a limit or a stop string.

        Raises:
            pydantic.ValidationError: the schema allows the text, but a validator of the model does not.
        """
        text = self._json
        return None if text is None or not _is_whole(text) else self._adapter.validate_json(text)

    @property
    @abstractmethod
    def _json(self) -> str | None: ...


def _is_whole(text: str) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True


class ParsedChoice(Choice, _Parsed[T], Generic[T]):
    """A choice of :class:`ParsedCompletion`."""

    @property
    @override
    def _json(self) -> str | None:
        return None if self.finish_reason == "length" else self.text


class ParsedCompletion(Completion, Generic[T]):
    """A completion each of whose choices has ``parsed``."""

    choices: list[ParsedChoice[T]]  # type: ignore[assignment] # nobody appends to a frozen answer's choices


class ParsedChatChoice(ChatChoice, _Parsed[T], Generic[T]):
    """A choice of :class:`ParsedChatCompletion`."""

    @property
    @override
    def _json(self) -> str | None:
        return None if self.finish_reason == "length" else self.message.content


class ParsedChatCompletion(ChatCompletion, Generic[T]):
    """An answer to a chat each of whose choices has ``parsed``."""

    choices: list[ParsedChatChoice[T]]  # type: ignore[assignment] # as above


class _Closed(GenerateJsonSchema):
    """Leaves no room for properties that a model would only throw away."""

    @override
    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        return {"additionalProperties": False, **super().model_schema(schema)}

    @override
    def dataclass_schema(self, schema: DataclassSchema) -> dict[str, Any]:
        return {"additionalProperties": False, **super().dataclass_schema(schema)}

    @override
    def typed_dict_schema(self, schema: TypedDictSchema) -> dict[str, Any]:
        return {"additionalProperties": False, **super().typed_dict_schema(schema)}


class JsonForm(Generic[T]):
    """JSON that is asked for: its schema, and how an answer is read.

    Args:
        asked: A pydantic model, or another type that pydantic knows; or a JSON schema, as a mapping or as
            text, for plain values.

    Raises:
        InvalidRequestError: the type has no JSON schema.
    """

    def __init__(self, asked: type[T] | dict[str, Any] | str) -> None:
        self._adapter: TypeAdapter[T]
        if isinstance(asked, dict | str):
            self._schema, self._adapter = asked, TypeAdapter(Any)
            return
        try:
            self._adapter = TypeAdapter(asked)
            self._schema = json.dumps(self._adapter.json_schema(schema_generator=_Closed))
        except (PydanticUserError, PydanticInvalidForJsonSchema) as error:
            raise InvalidRequestError(
                f"'json' should be a type with a JSON schema: {str(error.message).splitlines()[0]}",
                param="json",
            ) from None

    def added_to(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a request with this form.

        Raises:
            InvalidRequestError: they have a schema already.
        """
        if fields.get("json_schema") is not None:
            raise InvalidRequestError("'json' is not allowed together with 'json_schema'.", param="json")
        return {**fields, "json_schema": self._schema}

    def completion(self, answer: Completion) -> ParsedCompletion[T]:
        """Return an answer whose choices can be read."""
        choices = [self._readable(ParsedChoice[T], choice) for choice in answer.choices]
        return ParsedCompletion[T].model_construct(**{**dict(answer), "choices": choices})

    def chat_completion(self, answer: ChatCompletion) -> ParsedChatCompletion[T]:
        """Return an answer whose choices can be read."""
        choices = [self._readable(ParsedChatChoice[T], choice) for choice in answer.choices]
        return ParsedChatCompletion[T].model_construct(**{**dict(answer), "choices": choices})

    def _readable(self, kind: type[Any], choice: Answer) -> Any:
        readable = kind.model_construct(**dict(choice))
        readable._adapter = self._adapter
        return readable
