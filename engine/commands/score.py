"""``nucleus score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.local import MODEL_OPTIONS, load
from engine.commands.options import takes
from engine.commands.shading import is_shaded, legend, shaded
from engine.commands.terminal import columns, harmless, out, quiet_logging, write_json
from engine.commands.texts import given_text
from engine.contract.display import decoded
from engine.loading.options import EngineOptions

if TYPE_CHECKING:
    from engine.many.scoring import Score


@takes(options=MODEL_OPTIONS)
def score(
    options: EngineOptions,
    *,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The text; - reads standard input.", show_default=False),
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", metavar="", help="Print each token with its log-probability.")
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(metavar="N", help="Most tokens that the model sees at once.", show_default=False),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(metavar="N", help="Tokens by which that moves on in a longer text.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print JSON, with the tokens.")] = False,
) -> None:
    """Say how probable a text is to a model: its perplexity, in total or per token.

    nucleus score story.txt

    nucleus score story.txt --tokens --window 512

    On a terminal with colours the text is shown, too, shaded by probability.
    """
    quiet_logging()
    is_file = file is not None and str(file) != "-"
    text = given_text(None if is_file else "-" if file else None, file if is_file else None, name="FILE")
    with load(options) as llm:
        (found,) = llm.score([text], window=window, stride=stride, progress=False)
    if as_json:
        write_json(found.model_dump(mode="json"))
        return
    if tokens:
        for line in columns(_rows(found)):
            print(harmless(line))
    elif is_shaded(out):
        out.print(shaded(zip(decoded(found.token_bytes), found.token_logprobs, strict=True)))
        out.print(legend())
    print(f"perplexity {found.perplexity:.3f} over {found.count} tokens ({found.mean:.4f} nats each)")


def _rows(found: Score) -> list[tuple[str, str, str]]:
    rows = [("id", "logprob", "token")]
    for token, logprob, text in zip(found.token_ids, found.token_logprobs, found.tokens, strict=True):
        rows.append((f"{token}", "-" if logprob is None else f"{logprob:.4f}", repr(text)))
    return rows
