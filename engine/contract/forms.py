"""The fields that ask for an answer of a given form, in the names of OpenAI, vLLM and llama.cpp's server."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from engine.contract.messages import abbreviate, contract_error
from engine.contract.schema_rules import allow_nulls
from engine.contract.validators import StrictModel, check_text
from engine.grammar.form import Form

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CHOICE_STRINGS = 4096
"""Most strings of which an answer is to be one."""
_ANY_OBJECT = '{"type": "object"}'


def _schema_text(value: Any) -> str:
    """Return a JSON schema as text, whether it came as an object or as text already."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise contract_error(f"should be a JSON schema, and is no JSON: {error}") from None
    if not isinstance(value, dict | bool):
        raise contract_error(f"should be a JSON schema, as an object or as its text, not {abbreviate(value)}")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except RecursionError:
        raise contract_error("should not be nested so deeply") from None
    except (TypeError, ValueError) as error:
        raise contract_error(f"should be a JSON schema, and cannot be written as JSON: {error}") from None
    return text


_SchemaForms = dict[str, Any] | str | bool
_Schema = Annotated[str, BeforeValidator(_schema_text, json_schema_input_type=_SchemaForms)]
_Grammar = Annotated[str, BeforeValidator(partial(check_text, max_length=1 << 20))]
_Text = Annotated[_Grammar, Field(min_length=1)]
_Choice = Annotated[str, BeforeValidator(partial(check_text, max_length=1 << 16))]
_Choices = Annotated[list[_Choice], Field(min_length=1, max_length=MAX_CHOICE_STRINGS)]


class AskedForm(NamedTuple):
    """The form that a request asks for, and the field that does."""

    field: str
    form: Form


class _FormModel(StrictModel):
    """An object of which nothing may be ignored: it says what the answer has to be."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=allow_nulls)


class NamedSchema(_FormModel):
    """A JSON schema with what OpenAI puts around it."""

    name: str = Field("", description="What the schema is called; for people.")
    description: str = Field("", description="What it is for; for people.")
    schema_: _Schema | None = Field(None, alias="schema", description="The JSON schema.")
    strict: bool = Field(True, description="An answer always has the form, so either value means the same.")


class ResponseFormat(_FormModel):
    """The form of an answer as OpenAI's clients ask for it."""

    type: Literal["text", "json_object", "json_schema"] = Field(
        description="`text`: any; `json_object`: a JSON object; `json_schema`: JSON that a schema allows."
    )
    json_schema: NamedSchema | None = Field(None, description="The schema, with the type `json_schema`.")
    schema_: _Schema | None = Field(
        None, alias="schema", description="The schema alone, as llama.cpp's server takes it."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        given = [schema for schema in (self.json_schema, self.schema_) if schema is not None]
        if self.type == "json_schema" and (len(given) != 1 or self.form is None):
            raise contract_error(
                "with the type 'json_schema' should have one schema, as 'json_schema.schema'"
            )
        if self.json_schema is not None and self.type != "json_schema":
            raise contract_error(f"should have a 'json_schema' only with that type, not with {self.type!r}")
        if self.schema_ is not None and self.type == "text":
            raise contract_error("should have no 'schema' with the type 'text'")
        return self

    @property
    def form(self) -> Form | None:
        """The form that is asked for; None: any."""
        schema = self.schema_ if self.json_schema is None else self.json_schema.schema_
        if self.type == "json_object" and schema is None:
            schema = _ANY_OBJECT
        return None if schema is None else Form("json_schema", schema)


class StructuredOutputs(_FormModel):
    """The form of an answer as vLLM's clients ask for it: exactly one of these."""

    json_: _Schema | None = Field(None, alias="json", description="JSON that is valid by this schema.")
    regex: _Text | None = Field(None, description="A text that this regular expression matches as a whole.")
    choice: _Choices | None = Field(None, description="One of these strings.")
    grammar: _Text | None = Field(None, description="A text of this grammar, in Lark's syntax or in GBNF.")
    json_object: bool = Field(False, description="A JSON object.")

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [field.field for field in self.forms()]
        if len(given) > 1:
            raise contract_error(f"should have exactly one form, not {' and '.join(given)}")
        return self

    def forms(self) -> Iterator[AskedForm]:
        """Yield the forms that are asked for."""
        return _forms(
            json=self.json_,
            regex=self.regex,
            choice=self.choice,
            grammar=self.grammar,
            json_object=self.json_object,
        )


class FormFields(StrictModel):
    """The fields of a request that give its answer a form; at most one of them does."""

    response_format: ResponseFormat | None = Field(
        None,
        description="The form of the answer. JSON is written in one line, as Python's `json.dumps` does.",
        examples=[{"type": "json_object"}],
    )
    structured_outputs: StructuredOutputs | None = Field(
        None,
        description="The form of the answer: exactly one of `json`, `regex`, `choice`, `grammar` and "
        "`json_object`.",
        examples=[{"choice": ["yes", "no"]}, {"regex": "[0-9]{4}"}],
    )
    grammar: _Grammar = Field(
        "", description="The same as `structured_outputs.grammar`, as llama.cpp's server has it; empty: none."
    )
    json_schema: _Schema | None = Field(
        None, description="The same as `structured_outputs.json`, as llama.cpp's server has it."
    )
    guided_json: _Schema | None = Field(None, description="The older name of `structured_outputs.json`.")
    guided_regex: _Text | None = Field(None, description="The older name of `structured_outputs.regex`.")
    guided_choice: _Choices | None = Field(None, description="The older name of `structured_outputs.choice`.")
    guided_grammar: _Text | None = Field(None, description="The older name of `structured_outputs.grammar`.")
    guided_json_object: bool = Field(False, description="The older name of `structured_outputs.json_object`.")

    @model_validator(mode="after")
    def _check_one_form(self) -> Self:
        given = [asked.field.partition(".")[0] for asked in self._forms()]
        if len(given) > 1:
            raise contract_error(f"{given[1]}: is not allowed together with '{given[0]}': one form is enough")
        return self

    @property
    def asked_form(self) -> AskedForm | None:
        """The form that is asked for; None: any."""
        return next(self._forms(), None)

    def _forms(self) -> Iterator[AskedForm]:
        if self.response_format is not None and (form := self.response_format.form) is not None:
            yield AskedForm("response_format", form)
        if self.structured_outputs is not None:
            for field, form in self.structured_outputs.forms():
                yield AskedForm(f"structured_outputs.{field}", form)
        yield from _forms(grammar=self.grammar or None)
        if self.json_schema is not None:
            yield AskedForm("json_schema", Form("json_schema", self.json_schema))
        older = _forms(
            json=self.guided_json,
            regex=self.guided_regex,
            choice=self.guided_choice,
            grammar=self.guided_grammar,
            json_object=self.guided_json_object,
        )
        for field, form in older:
            yield AskedForm(f"guided_{field}", form)


def _forms(
    *,
    json: str | None = None,
    regex: str | None = None,
    choice: list[str] | None = None,
    grammar: str | None = None,
    json_object: bool = False,
) -> Iterator[AskedForm]:
    if json is not None:
        yield AskedForm("json", Form("json_schema", json))
    if regex is not None:
        yield AskedForm("regex", Form("regex", regex))
    if choice is not None:
        yield AskedForm("choice", Form("choice", _list_text(choice)))
    if grammar is not None:
        yield AskedForm("grammar", Form("gbnf" if "::=" in grammar else "lark", grammar))
    if json_object:
        yield AskedForm("json_object", Form("json_schema", _ANY_OBJECT))


def _list_text(strings: list[str]) -> str:
    return json.dumps(strings, ensure_ascii=False)
