"""From options, most of them automatic, to a running service and a report of what was chosen."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine import hardware
from engine.backend.cache_types import scaled_cell_bytes
from engine.contract.limits import Limits
from engine.core.engine import Engine
from engine.core.policy import DEFAULT_POLICY, SchedulingPolicy
from engine.core.sampler_threads import fastest_threads
from engine.errors import ModelLoadError
from engine.loading.costs import costs_note, remembered_cost
from engine.loading.prefixes import prefix_files
from engine.loading.profiles import BATCH, Place, RunSettings, default_settings, settings_with
from engine.loading.report import (
    Setting,
    StartupReport,
    attention_setting,
    gpu_setting,
    prefix_cache_setting,
    seeds_setting,
    step_setting,
    tuned_settings,
)
from engine.loading.trial import try_out
from engine.loading.widths import read_widths, widths_note
from engine.models.display import format_size
from engine.models.fit import affordable_context
from engine.models.names import locate
from engine.service.service import CompletionService

if TYPE_CHECKING:
    from pathlib import Path

    from engine.backend.llama import LlamaBackend
    from engine.backend.llama_model import LlamaModel
    from engine.core.prefix_files import PrefixFiles
    from engine.core.step_cost import StepCost
    from engine.loading.options import EngineOptions
    from engine.models.names import ModelFile
    from engine.models.notes import Note

_CORES = "the cores that this process may use"
_CALIBRATION_SECONDS = 1.0
_CALIBRATION_SECONDS_ALONE = 0.3


@dataclass(frozen=True, slots=True)
class Launched:
    """A running service, and what it runs with."""

    service: CompletionService
    report: StartupReport


def launch(options: EngineOptions, *, policy: SchedulingPolicy = DEFAULT_POLICY) -> Launched:
    """Load the model and start the engine thread.

    Args:
        options: How to load and run the model.
        policy: The numbers that the scheduler and the cache decide by.

    Raises:
        ModelLoadError: the model cannot be found or loaded, or does not fit.
    """
    file = locate(options.model)
    try_out(file)
    from engine.backend import llama_model  # loads llama.cpp; nothing before this needs it

    layers, layers_reason = hardware.gpu_layers(options.gpu_layers, has_gpu=llama_model.supports_gpu())
    place = Place(file.path, llama_model.kernels(), layers)
    profile = place.read() if options.profile else None
    run, reasons = settings_with(options, profile, default_settings())
    model = llama_model.LlamaModel(file.path, n_gpu_layers=layers)
    cells, cells_reason = _cells(options, run, model)
    backend = _load_backend(file, model, options, run, n_cells=cells, n_gpu_layers=layers)
    noted = costs_note(
        file.path, backend, {"kernels": place.kernels, "layers": layers, **dataclasses.asdict(run)}
    )
    cost = _step_cost(backend, noted, speculates=options.speculation == "auto")
    drawing = fastest_threads(backend.info.n_vocab, backend.n_slots, run.threads)
    try:
        files = prefix_files(
            options, file.path, backend, kernels=place.kernels, layers=layers, **dataclasses.asdict(run)
        )
    except ModelLoadError:
        backend.close()
        raise
    service = _start_service(
        backend,
        options,
        name=options.alias or file.name,
        path=file.path,
        threads=drawing,
        cost=cost,
        policy=policy,
        files=files,
    )
    settings = [
        _model_setting(service.name, file, model),
        Setting("context", f"{service.max_model_len} tokens", cells_reason),
        Setting("parallel", f"{options.parallel} sequences", f"share {backend.n_cells} tokens of KV cache"),
        prefix_cache_setting(service, asked=options.prefix_cache, folder=options.prefix_cache_dir),
        seeds_setting(backend, cost),
        Setting("threads", f"{run.threads}, and {drawing} of the sampler", reasons["threads"] or _CORES),
        *attention_setting(run, reasons),
        gpu_setting(layers, layers_reason),
        step_setting(cost, n_slots=options.parallel),
        *tuned_settings(profile),
    ]
    return Launched(service, StartupReport(settings))


def _load_backend(
    file: ModelFile,
    model: LlamaModel,
    options: EngineOptions,
    run: RunSettings,
    *,
    n_cells: int,
    n_gpu_layers: int,
) -> LlamaBackend:
    from engine.backend.llama import LlamaBackend, LlamaOptions

    note = widths_note(file.path, run)
    llama_options = LlamaOptions(
        n_slots=options.parallel,
        prefix_cache=options.prefix_cache,
        n_cells=n_cells,
        n_batch=max(BATCH, run.ubatch_size, options.parallel),
        n_threads=run.threads,
        n_gpu_layers=n_gpu_layers,
        n_ubatch=run.ubatch_size,
        flash_attn=run.flash_attn,
        cache_type_k=run.cache_type_k,
        cache_type_v=run.cache_type_v,
        batch_invariant=options.batch_invariant,
        tried_widths=read_widths(note),
    )
    backend = LlamaBackend(model, llama_options)
    if options.batch_invariant == "on" and not backend.batch_invariance.widest:
        backend.close()
        raise ModelLoadError(
            f"--batch-invariant on is not possible with {file.name}: {backend.why_not_batch_invariant}.",
            hint="With --batch-invariant off a seed repeats while no other request runs.",
        )
    if backend.tried_widths != llama_options.tried_widths:
        note.write(json.dumps(backend.tried_widths))
    return backend


def _step_cost(backend: LlamaBackend, noted: Note, *, speculates: bool) -> StepCost:
    """Measure steps in a thread of its own, which takes llama.cpp's threads with it when it ends.

    With one sequence at a time there is nothing to choose but the length of guesses.
    """
    seconds = _CALIBRATION_SECONDS
    if backend.n_slots == 1:
        seconds = _CALIBRATION_SECONDS_ALONE if speculates and backend.n_drafted else 0.0
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(remembered_cost, backend, noted, seconds=seconds).result()


def _start_service(
    backend: LlamaBackend,
    options: EngineOptions,
    *,
    name: str,
    path: Path,
    threads: int,
    cost: StepCost,
    policy: SchedulingPolicy,
    files: PrefixFiles | None,
) -> CompletionService:
    from engine.backend.llama_model import features

    engine = Engine(
        backend,
        max_logprobs=options.max_logprobs,
        max_requests=options.max_requests,
        threads=threads,
        cost=cost,
        policy=policy,
        speculates=options.speculation == "auto",
        files=files,
    )
    return CompletionService(
        engine,
        name=name,
        limits=Limits(max_logprobs=options.max_logprobs),
        max_model_len=min(backend.n_cells, backend.info.n_ctx_train),
        max_seconds=options.max_seconds,
        features=features(),
        path=path,
    )


def _model_setting(name: str, file: ModelFile, model: LlamaModel) -> Setting:
    size = format_size(model.info.n_bytes)
    return Setting("model", name, f"{model.info.description}, {size}, {file.source}")


def _cells(options: EngineOptions, run: RunSettings, model: LlamaModel) -> tuple[int, str]:
    """Return the cells of the KV cache, and the reason."""
    trained = model.info.n_ctx_train
    if options.ctx_size is not None:
        return options.ctx_size, "as asked" if options.ctx_size <= trained else f"trained for {trained}"
    memory = hardware.available_memory()
    cell_bytes = scaled_cell_bytes(model.cell_bytes, *run.attention[1:])
    cells = affordable_context(trained, cell_bytes, memory)
    if memory is None or cells == trained:
        return trained, "what the model was trained for"
    if not cells:
        raise ModelLoadError(
            f"{format_size(memory)} of memory are free, too little for the KV cache of {options.model}.",
            hint="Choose a smaller model, or --ctx-size by hand.",
        )
    return cells, f"what a quarter of {format_size(memory)} free memory holds; trained for {trained}"
