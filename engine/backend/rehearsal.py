"""The first minutes of a model, in a process of its own: ``python -m engine.backend.rehearsal FILE``.

llama.cpp checks some of what a file says by assertions, which end the process. So a file that nobody vouches
for is loaded here first, and used as a server would use it: each token is written, a text with every byte of
UTF-8 is tokenized, and a few tokens are decoded. Standard output has a line of JSON for each thing that is
begun, and one for the end; what ends this process leaves its last words on standard error.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import numpy as np

from engine.backend import lifeline
from engine.backend.base import BackendError, Batch, decode
from engine.backend.llama import LlamaBackend, LlamaOptions
from engine.backend.llama_log import lib
from engine.backend.llama_model import LlamaModel
from engine.errors import ModelLoadError

_OPTIONS = LlamaOptions(
    n_slots=2,
    prefix_cache=False,
    n_cells=64,
    n_batch=16,
    n_threads=1,
    n_gpu_layers=0,
    batch_invariant="off",  # it takes dozens of decodes to try, and the server will do it
)


def rehearse(path: Path) -> None:
    """Load and use a model.

    Raises:
        ModelLoadError: it cannot generate text.
    """
    _say(begun="is loaded")
    model = LlamaModel(path)
    _say(begun="writes its tokens")
    _write_tokens(model)
    _say(begun="tokenizes a text")
    _tokenize(model)
    _say(begun="decodes")
    backend = LlamaBackend(model, _OPTIONS)
    try:
        _decode(backend, path)
    except BackendError as error:
        raise ModelLoadError(f"{str(path)!r} cannot be computed: {error}.") from error
    finally:
        backend.close()


def _write_tokens(model: LlamaModel) -> None:
    """Write every token, as its text and by its name; how long that is, is all that is asked."""
    count = model.info.n_vocab
    tokens, text = (lib.llama_token * count)(*range(count)), ctypes.create_string_buffer(1)
    for special in (False, True):
        lib.llama_detokenize(model.vocab, tokens, count, text, 0, False, special)


def _tokenize(model: LlamaModel) -> None:
    for text in ("", every_byte()):
        model.tokenize(text)
        model.tokenize(text, add_special=False)


def every_byte() -> str:
    """Return a text that has every byte that UTF-8 can have."""
    ascii_and_continuations = map(chr, range(0xC0))
    twos = (chr(lead << 6) for lead in range(2, 0x20))
    threes = (chr(max(lead << 12, 0x800)) for lead in range(0x10) if lead != 0xD)
    fours = map(chr, range(0x10000, 0x110000, 1 << 18))
    return "".join([*ascii_and_continuations, *twos, *threes, *fours])


def _decode(backend: LlamaBackend, path: Path) -> None:
    """Decode beside each other what two sequences hold, and look whether that leaves logits.

    A graph without an output leaves the buffer as it is, and so what was written there before.
    """
    batch, mark = Batch(4), np.float32("nan")
    token = (backend.info.bos_token or 0) % backend.info.n_vocab
    batch.fill([token] * 4, [0, 1, 0, 1], [0, 0, 1, 1], [False, True, False, True])
    decode(backend, batch).fill(mark)
    batch.fill([token] * 2, [2, 2], [0, 1], [True, True])
    if np.isnan(decode(backend, batch)).all():
        raise ModelLoadError(
            f"{str(path)!r} cannot generate text: the model computes no probabilities of a next token."
        )


def main() -> None:
    """Rehearse with the file that is named on the command line, for as long as somebody holds our input."""
    lifeline.watch()
    try:
        rehearse(Path(sys.argv[1]))
    except ModelLoadError as error:
        _say(refused=error.message, hint=error.hint)
    else:
        _say(passed=True)


def _say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
