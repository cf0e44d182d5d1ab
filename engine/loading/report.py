"""What was chosen for a model and a machine, and why: the lines that a server prints when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from engine.backend.llama import LlamaBackend
    from engine.core.step_cost import StepCost
    from engine.loading.profiles import Profile, RunSettings
    from engine.service.service import CompletionService


class Setting(NamedTuple):
    """One line: what was chosen, and why."""

    what: str
    value: str
    reason: str


class StartupReport(NamedTuple):
    """What a service runs with."""

    settings: list[Setting]


def seeds_setting(backend: LlamaBackend, cost: StepCost) -> Setting:
    """Return whether a seed repeats beside other requests, and what that costs."""
    invariance = backend.batch_invariance
    if not invariance.widest:
        return Setting("seeds", "repeat alone", backend.why_not_batch_invariant)
    reason = f"batch-invariant for up to {invariance.max_tokens} sequences at once"
    if not invariance.is_free:
        reason += f"; steps padded to {invariance.least} rows"
        reason += f" and multiples of {invariance.unit}" if invariance.unit > 1 else ""
        if cost.is_known(1) and cost.is_known(invariance.least):
            price = cost.seconds(invariance.least) / cost.seconds(1)
            reason += f": one alone takes {price:.1f} times as long"
    return Setting("seeds", "repeat beside other requests", reason)


def prefix_cache_setting(service: CompletionService, *, asked: bool, folder: Path | None) -> Setting:
    """Return whether prefixes are cached, and how many were found in the folder where they outlive us."""
    backend = service.engine.backend
    if not asked:
        reason = "as asked"
    elif backend.prefix_cache:
        reason = "prompts that begin alike are computed once"
        if folder is not None:
            reason += f"; {service.engine.step_totals.restored} found in {folder}"
    else:
        reason = "this model's memory cannot be cut"
    return Setting("prefix cache", "on" if backend.prefix_cache else "off", reason)


def gpu_setting(n_layers: int, reason: str) -> Setting:
    """Return how many layers are on a GPU; -1 stands for all of them."""
    return Setting("gpu", f"{'all' if n_layers < 0 else n_layers} layers", reason)


def step_setting(cost: StepCost, *, n_slots: int) -> Setting:
    """Return what a step of one sequence and one of all of them cost, and which ones are padded."""
    if not cost.is_known(1):
        return Setting("step", "not measured", "one sequence at a time leaves nothing to choose")
    times = f"{1e3 * cost.seconds(1):.3g} ms for one token"
    if n_slots > 1 and cost.is_known(n_slots):
        times += f", {1e3 * cost.seconds(n_slots):.3g} ms for {n_slots}"
    for depth, seconds in cost.attention_table().items():
        times += f", {1e3 * seconds:.2g} ms more after {depth} tokens"
    padded = [f"{n} to {width}" for n, width in cost.widths.items() if n <= n_slots and n != width]
    reason = f"measured; padded, as that is cheaper: {', '.join(padded)}" if padded else "measured"
    return Setting("step", times, reason)


def attention_setting(run: RunSettings, reasons: Mapping[str, str]) -> Iterator[Setting]:
    """Yield how attention and prompts are computed, where that was asked for or tuned."""
    if reasons["attention"]:
        types = f"flash {run.flash_attn}, keys {run.cache_type_k}, values {run.cache_type_v}"
        yield Setting("attention", types, reasons["attention"])
    if reasons["ubatch"]:
        yield Setting("ubatch", f"{run.ubatch_size} tokens", reasons["ubatch"])


def tuned_settings(profile: Profile | None) -> Iterator[Setting]:
    """Yield what was found for the file, and which other one is faster: that one is used if it is named."""
    if profile is None:
        return
    worth = _worth(profile.speedup, profile.streams, profile.mean_kl)
    yield Setting("tuned", f"on {profile.date}", f"{worth}; --profile off does without")
    faster = profile.faster_file
    if faster is not None and faster.is_there():
        worth = _worth(faster.speedup, faster.streams, faster.mean_kl)
        yield Setting("faster", str(faster.path), f"{worth}; used if it is named")


def _worth(speedup: float, streams: int, mean_kl: float) -> str:
    worth = f"{speedup:.2f} times the tokens/s at {streams} {'stream' if streams == 1 else 'streams'}"
    return f"{worth}, at a mean KL of {mean_kl:.2g} nats" if mean_kl else worth
