"""Serves with llama.cpp's server in C++; run by the interpreter that has ``xllamacpp``.

Arguments: a GGUF file, the port, tokens of context that all slots share, slots, threads; and ``lookup``, if
it guesses tokens from the text before (``ngram-simple``). Everything else stays as the package has it.
"""

from __future__ import annotations

import signal
import sys

import xllamacpp  # type: ignore[import-not-found]


def main(model: str, port: str, context: str, slots: str, threads: str, lookup: str = "") -> None:
    """Serve until a signal ends the process."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port = int(port)
    params.n_ctx = int(context)
    params.n_parallel = int(slots)
    params.kv_unified = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
    params.n_gpu_layers = 0
    if lookup:
        kinds = xllamacpp.common_speculative_type
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    server = xllamacpp.Server(params)
    print(server.listening_address, xllamacpp.get_system_info(), flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
