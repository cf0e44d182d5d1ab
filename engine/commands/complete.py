"""``nucleus complete``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.commands.local import MODEL_OPTIONS, load
from engine.commands.options import takes
from engine.commands.request_options import RequestOptions
from engine.commands.shading import ShadedText, is_shaded, legend
from engine.commands.terminal import out, quiet_logging, write, write_json
from engine.commands.texts import FileOption, given_text
from engine.contract.requests import CompletionRequest
from engine.loading.options import EngineOptions

if TYPE_CHECKING:
    from engine.contract.responses import Choice
    from engine.llm import LLM

_DEFAULTS = {"max_tokens": 128}


@takes(
    request=RequestOptions(CompletionRequest, stand_in={"prompt": "prompt"}, defaults=_DEFAULTS),
    options=MODEL_OPTIONS,
)
def complete(
    options: EngineOptions,
    request: dict[str, Any],
    *,
    prompt: Annotated[
        str | None,
        typer.Argument(metavar="PROMPT", help="The text to continue; - reads it from standard input."),
    ] = None,
    file: FileOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print the whole answer as the HTTP door gives it.")
    ] = False,
) -> None:
    """Continue a text.

    nucleus complete "The capital of France is" --max-tokens 8 --temperature 0

    nucleus complete --file story.txt --logprobs 0 --echo

    echo "Paris as JSON:" | nucleus complete - --json-schema @city.json
    """
    request["prompt"] = given_text(prompt, file, name="PROMPT")
    quiet_logging()
    candidates = request.get("best_of") or request.get("n") or 1
    with load(options, parallel=candidates) as llm:
        if as_json:
            write_json(llm.complete(**request).model_dump(mode="json"))
        elif candidates == 1:
            _stream(llm, request)
        else:
            _print_choices(llm.complete(**request).choices)


def _stream(llm: LLM, request: dict[str, Any]) -> None:
    shades = ShadedText() if "logprobs" in request and is_shaded(out) else None
    for chunk in llm.stream(**request):
        for choice in chunk.choices:
            _print_piece(choice, shades)
    print()
    if shades is not None:
        out.print(legend())


def _print_choices(choices: list[Choice]) -> None:
    for choice in choices:
        out.rule(f"choice {choice.index + 1} of {len(choices)}", align="left", style="dim")
        _print_piece(choice, ShadedText() if choice.logprobs is not None and is_shaded(out) else None)
        print()


def _print_piece(choice: Choice, shades: ShadedText | None) -> None:
    if shades is None:
        write(choice.text)
    else:
        out.print(shades.piece(choice), end="")
