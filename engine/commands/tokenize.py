"""``nucleus tokenize``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.completion import model_names
from engine.commands.terminal import columns, harmless, quiet_logging, write_json
from engine.commands.texts import FileOption, given_text
from engine.errors import InvalidRequestError
from engine.models.packaged import DEFAULT_MODEL
from engine.settings import ENV_PREFIX

if TYPE_CHECKING:
    from engine.backend.llama_model import LlamaModel


def tokenize(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The text; - reads it from standard input.")
    ] = None,
    file: FileOption = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="TEXT",
            envvar=f"{ENV_PREFIX}MODEL",
            show_envvar=False,
            help="The model whose tokens these are.",
            autocompletion=model_names,
        ),
    ] = DEFAULT_MODEL,
    special: Annotated[
        bool,
        typer.Option(
            "--special/--no-special", metavar="", help="Add the tokens that a prompt begins or ends with."
        ),
    ] = True,
    count: Annotated[
        bool, typer.Option("--count", metavar="", help="Print only how many there are.")
    ] = False,
    ids: Annotated[
        str | None,
        typer.Option(
            "--ids", metavar="N,N,...", help="Print the text of these tokens instead.", show_default=False
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print JSON: the tokens with ids and texts.")
    ] = False,
) -> None:
    """Show the tokens of a text.

    nucleus tokenize "The capital of France is"

    nucleus tokenize --file story.txt --count

    nucleus tokenize --ids 504,3575,282
    """
    quiet_logging()
    if ids is not None:
        print(_text_of(_load(model), ids))
        return
    text = given_text(text, file, name="TEXT")
    loaded = _load(model)
    tokens = loaded.tokenize(text, add_special=special)
    if count:
        print(len(tokens))
        return
    texts = [_piece(loaded, token) for token in tokens]
    if as_json:
        shown = [{"id": token, "text": text} for token, text in zip(tokens, texts, strict=True)]
        write_json({"count": len(tokens), "tokens": shown})
        return
    for line in columns((str(token), repr(text)) for token, text in zip(tokens, texts, strict=True)):
        print(harmless(line))
    print(f"{len(tokens)} tokens")


def _load(name: str) -> LlamaModel:
    from engine.loading.trial import try_out
    from engine.models.names import locate

    file = locate(name)
    try_out(file)
    from engine.backend.llama_model import LlamaModel

    return LlamaModel(file.path)


def _piece(model: LlamaModel, token: int) -> str:
    return (model.piece(token) or model.piece(token, special=True)).decode("utf-8", "backslashreplace")


def _text_of(model: LlamaModel, given: str) -> str:
    tokens = []
    for word in given.replace(",", " ").split():
        is_number = word.isascii() and word.isdecimal() and len(word) < 20
        if not is_number or int(word) >= model.info.n_vocab:
            raise InvalidRequestError(
                f"--ids should be ids from 0 to {model.info.n_vocab - 1}, not {word!r:.40}.", param="--ids"
            )
        tokens.append(int(word))
    raw = b"".join(model.piece(token) or model.piece(token, special=True) for token in tokens)
    return harmless(raw.decode("utf-8", "replace"))
