"""From options, most of them automatic, to a running service; what was chosen is told with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from engine.contract.requests import Limits
from engine.core.engine import Engine
from engine.core.policy import SchedulingPolicy
from engine.errors import ModelLoadError
from engine.loading import hardware
from engine.loading.models import DEFAULT_MODEL, locate
from engine.service.service import CompletionService

if TYPE_CHECKING:
    from engine.backend.llama import LlamaBackend
    from engine.backend.llama_model import LlamaModel

MAX_PARALLEL = 254  # llama.cpp's own limit on sequences is 256, and the backend needs two
_BATCH = 512  # tokens in one step; llama.cpp computes no larger piece at once by default
_MEMORY_SHARE = 4  # the KV cache takes at most this part of what is free, unless it is told otherwise
_SAMPLERS = 4  # threads that sample, of those of llama.cpp: waking more of them takes longer than they save


_AUTOMATIC = "(default: chosen for the model and the machine)"


class EngineOptions(BaseModel):
    """How a model is loaded and run; what is not given is chosen for the model and the machine."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        DEFAULT_MODEL, description="A GGUF file, a packaged model's name, or user/repo:QUANT of the hub."
    )
    alias: str | None = Field(None, min_length=1, description="The model's name in requests and answers.")
    parallel: int = Field(16, ge=1, le=MAX_PARALLEL, description="Sequences that are generated at once.")
    ctx_size: int | None = Field(
        None, ge=2, description=f"Tokens that the KV cache holds, for all sequences together. {_AUTOMATIC}"
    )
    prefix_cache: bool = Field(
        True,
        description="on or off: whether texts are kept for prompts that begin like them, in as much memory "
        "again as the KV cache takes.",
    )
    threads: int | None = Field(
        None, ge=1, le=512, description=f"Threads of llama.cpp, and up to four of the sampler. {_AUTOMATIC}"
    )
    gpu_layers: int | Literal["auto"] = Field("auto", description="Layers to put on a GPU.")
    max_logprobs: int = Field(5, ge=0, le=100, description="Most alternatives a request may ask for.")
    max_requests: int = Field(1024, ge=1, description="Unfinished requests beyond which 429 is answered.")


class Chosen(NamedTuple):
    """One start-up line: what was chosen, and why."""

    what: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Launched:
    """A running service, and how it came to be as it is."""

    service: CompletionService
    choices: list[Chosen]


_DEFAULT_POLICY = SchedulingPolicy()


def launch(options: EngineOptions, *, policy: SchedulingPolicy = _DEFAULT_POLICY) -> Launched:
    """Load the model and start the engine thread.

    Args:
        options: How to load and run the model.
        policy: The numbers that the scheduler and the cache decide by.

    Raises:
        ModelLoadError: the model cannot be found or loaded, or does not fit.
    """
    file = locate(options.model)
    from engine.backend import llama, llama_model  # loads llama.cpp; nothing before this needs it

    layers, layers_reason = _gpu_layers(options, has_gpu=llama_model.supports_gpu())
    threads, threads_reason = _threads(options)
    model = llama_model.LlamaModel(file.path, n_gpu_layers=layers)
    cells, cells_reason = _cells(options, model)
    backend = llama.LlamaBackend(
        model,
        llama.LlamaOptions(
            n_slots=options.parallel,
            prefix_cache=options.prefix_cache,
            n_cells=cells,
            n_batch=max(_BATCH, options.parallel),
            n_threads=threads,
            n_gpu_layers=layers,
        ),
    )
    engine = Engine(
        backend,
        max_logprobs=options.max_logprobs,
        max_requests=options.max_requests,
        threads=min(threads, _SAMPLERS),
        policy=policy,
    )
    name = options.alias or file.name
    service = CompletionService(
        engine,
        name=name,
        limits=Limits(max_logprobs=options.max_logprobs),
        max_model_len=min(backend.n_cells, model.info.n_ctx_train),
    )
    return Launched(
        service,
        [
            Chosen("model", name, f"{model.info.description}, {_size(model.info.n_bytes)}, {file.source}"),
            Chosen("context", f"{service.max_model_len} tokens", cells_reason),
            Chosen(
                "parallel", f"{options.parallel} sequences", f"share {backend.n_cells} tokens of KV cache"
            ),
            Chosen(
                "prefix cache", "on" if backend.prefix_cache else "off", _prefix_cache_reason(options, model)
            ),
            Chosen("seeds", *_seeds(backend)),
            Chosen("threads", str(threads), threads_reason),
            Chosen("gpu", f"{'all' if layers < 0 else layers} layers", layers_reason),
        ],
    )


def _gpu_layers(options: EngineOptions, *, has_gpu: bool) -> tuple[int, str]:
    if options.gpu_layers != "auto":
        return options.gpu_layers, "as asked"
    if has_gpu:
        return -1, "this llama.cpp was built with a GPU backend"
    return 0, "this llama.cpp was built without a GPU backend"


def _prefix_cache_reason(options: EngineOptions, model: LlamaModel) -> str:
    if not options.prefix_cache:
        return "as asked"
    if not model.can_cut:
        return "this model's memory cannot be cut"
    return "prompts that begin alike are computed once"


def _seeds(backend: LlamaBackend) -> tuple[str, str]:
    if backend.n_batch_invariant:
        return "repeat in any company", f"up to {backend.n_batch_invariant} sequences at once"
    return "repeat alone", "here rounding depends on what shares a batch"


def _threads(options: EngineOptions) -> tuple[int, str]:
    if options.threads is not None:
        return options.threads, "as asked"
    return hardware.physical_cores(), "the cores that this process may use"


def _cells(options: EngineOptions, model: LlamaModel) -> tuple[int, str]:
    trained = model.info.n_ctx_train
    if options.ctx_size is not None:
        return options.ctx_size, "as asked" if options.ctx_size <= trained else f"trained for {trained}"
    memory = hardware.available_memory()
    if memory is None or not model.cell_bytes:
        return trained, "what the model was trained for"
    affordable = memory // _MEMORY_SHARE // model.cell_bytes
    if affordable >= trained:
        return trained, "what the model was trained for"
    if affordable < 256:
        raise ModelLoadError(
            f"{_size(memory)} of memory are free, too little for the KV cache of {options.model}.",
            hint="Choose a smaller model, or --ctx-size by hand.",
        )
    cells = affordable // 256 * 256
    return cells, f"what a quarter of {_size(memory)} free memory holds; trained for {trained}"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
