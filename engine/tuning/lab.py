"""The original on the bench, and others beside it: opened, compared with it, and timed in turns."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Final

from engine import hardware
from engine.backend.base import BackendError
from engine.backend.cache_types import scaled_cell_bytes
from engine.backend.llama_model import LlamaModel
from engine.errors import ModelLoadError
from engine.models.display import format_size
from engine.tuning.bench import STREAM_CELLS, Bench
from engine.tuning.candidate import Candidate
from engine.tuning.quality import LOSSLESS, Reference
from engine.tuning.recipe import AS_IT_IS
from engine.tuning.rounds import Rounds
from engine.tuning.text import text_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from engine.loading.profiles import RunSettings
    from engine.tuning.budget import Budget
    from engine.tuning.interruption import Interruption
    from engine.tuning.workspace import Workspace

_TEXT: Final = 704
_SHORTEST_TEXT: Final = 128
"""Tokens that are compared, and fewest: a slow model gets what takes the share of the time below."""
_TEXT_SHARE: Final = 0.02
_CONTEXT: Final = 8192
"""Tokens of the KV cache that counts as memory; fewer for a model that was trained for fewer."""
_MEMORY_SHARE: Final = 0.6
"""Share of the free memory that the benches of one group may take."""


class Lab:
    """Measures candidates against one original.

    Args:
        path: The original.
        settings: How it would be run without a profile.
        widths: Numbers of streams that are timed.
        gpu_layers: Layers on a GPU.
        workspace: Where temporary files go.
        budget: How long everything may take.
        interruption: Whether the work is to end.

    Raises:
        ModelLoadError: the original cannot be run.
    """

    def __init__(
        self,
        path: Path,
        settings: RunSettings,
        *,
        widths: Sequence[int],
        gpu_layers: int,
        workspace: Workspace,
        budget: Budget,
        interruption: Interruption,
    ) -> None:
        self.widths, self.gpu_layers = tuple(widths), gpu_layers
        self.workspace, self.budget, self.interruption = workspace, budget, interruption
        self.check = interruption.check
        self.model = LlamaModel(path, n_gpu_layers=gpu_layers)
        self.original = Candidate(AS_IT_IS, settings, quality=LOSSLESS)
        self._files: dict[str, Path] = {}
        self._tried: dict[str, dict[int, bool]] = {}
        self.n_context = min(self.model.info.n_ctx_train, _CONTEXT)
        budget.tell(0.0, "reading the model")
        with closing(self.open(self.original, self.model)) as bench:
            self.n_prompt = bench.longest_prompt()
            self._record(bench)
        self.rounds = Rounds(self.widths, self.n_prompt)
        self._lap_estimate = 0.0

    def _record(self, bench: Bench) -> None:
        """Compute the original's logits of the text, of which a slow model gets less."""
        per_token = bench.prefill_seconds(self.n_prompt) / self.n_prompt
        affordable = _TEXT_SHARE * self.budget.seconds / per_token
        most = min(_TEXT, self.model.info.n_ctx_train - 1, bench.backend.n_cells)
        self.tokens = text_tokens(self.model, int(min(most, max(affordable, _SHORTEST_TEXT))))
        n_bytes = 4 * len(self.tokens) * self.model.info.n_vocab
        if (problem := self.workspace.why_no_room(n_bytes)) is not None:
            raise ModelLoadError(
                f"There is no room for the original's logits: {problem}.",
                hint="Name another folder with --work-dir.",
            )
        began = self.budget.used
        self._reference = Reference(
            self.workspace.new_path(".logits"), self.tokens, bench.backend, self.check
        )
        self.assess_estimate = 1.5 * (self.budget.used - began)
        """Seconds that comparing one candidate takes, about."""

    def add_file(self, recipe_name: str, path: Path) -> None:
        """Let the candidates of a recipe be files of ours."""
        self._files[recipe_name] = path

    def remove_file(self, recipe_name: str) -> None:
        """Remove a converted file, to make room for others."""
        self._files.pop(recipe_name).unlink(missing_ok=True)

    def file_of(self, candidate: Candidate) -> Path:
        """Return the converted file of a candidate."""
        return self._files[candidate.recipe.name]

    def open(self, candidate: Candidate, model: LlamaModel) -> Bench:
        """Return a bench for a candidate, whose kernels are tried out once."""
        bench = Bench(
            model,
            candidate.settings,
            widths=self.widths,
            n_text=_TEXT,
            gpu_layers=self.gpu_layers,
            tried_widths=self._tried.get(candidate.name, {}),
        )
        self._tried[candidate.name] = bench.backend.tried_widths
        candidate.repeats_seeds = bench.repeats_seeds
        cell = scaled_cell_bytes(model.cell_bytes, *candidate.settings.attention[1:])
        candidate.memory = model.info.n_bytes + cell * self.n_context
        return bench

    def assess(self, candidate: Candidate) -> None:
        """Measure what a candidate loses; where it cannot be run, note why."""
        self.check()
        try:
            with closing(self.open(candidate, self._load(candidate))) as bench:
                quality = self._reference.quality_of(bench.backend, self.check)
        except (ModelLoadError, BackendError) as error:
            candidate.notes.append(f"cannot be run: {error}")
            return
        candidate.quality = quality
        if not quality.is_finite:
            candidate.notes.append("computes numbers that are none")

    def can_time(self, n_candidates: int, share: float) -> bool:
        """Return True if a round of so many should end before a share of all the time has passed."""
        return self.budget.allows(self._lap_estimate * (n_candidates + 1), share)

    def time(
        self,
        candidates: Sequence[Candidate],
        *,
        rounds: int,
        share: float,
        tell: Callable[[int], None],
    ) -> None:
        """Time candidates in turn with the original: once, and then as long as there is time.

        As many as fit the memory take turns; then the next ones do, with their part of the time.

        Args:
            candidates: Those that were compared; there may be none.
            rounds: Most rounds.
            share: The share of all the time until which there may be another round.
            tell: Gets the number of each round before it begins.
        """
        groups = list(self._groups(candidates))
        began = self.budget.used
        left = max(0.0, self.budget.left_until(share))
        for number, group in enumerate(groups, 1):
            self._time_group(group, rounds, began + left * number / len(groups), tell)
        for candidate in candidates:
            candidate.speed = self.rounds.speed_of(candidate.name)
        self.original.speed = self.rounds.speed_of_original()

    def _time_group(
        self, group: Sequence[Candidate], rounds: int, until: float, tell: Callable[[int], None]
    ) -> None:
        began = self.budget.used
        with ExitStack() as stack:
            original = stack.enter_context(closing(self.open(self.original, self.model)))
            benches = {}
            for candidate in group:
                try:
                    bench = self.open(candidate, self._load(candidate))
                except ModelLoadError as error:
                    candidate.notes.append(f"could not be timed: {error}")
                    continue
                benches[candidate.name] = stack.enter_context(closing(bench))
            for number in range(rounds):
                if number and self.budget.used + self._lap_estimate * (len(benches) + 1) > until:
                    break
                tell(number)
                self.rounds.run(original, benches, self.check)
                self._lap_estimate = (self.budget.used - began) / (len(benches) + 1) / (number + 1)

    def _load(self, candidate: Candidate) -> LlamaModel:
        if candidate.is_original:
            return self.model
        return LlamaModel(self._files[candidate.recipe.name], n_gpu_layers=self.gpu_layers)

    def _groups(self, candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
        """Yield candidates that fit into the memory beside the original, at least one at a time, if any."""
        room = _MEMORY_SHARE * (hardware.available_memory() or float("inf"))
        group: list[Candidate] = []
        taken = 0.0
        for candidate in candidates:
            size = self._bench_bytes(candidate)
            if group and taken + size > room:
                yield group
                group, taken = [], 0.0
            group.append(candidate)
            taken += size
        if group or not candidates:
            yield group

    def _bench_bytes(self, candidate: Candidate) -> float:
        cells = max(self.widths) * STREAM_CELLS
        cell = scaled_cell_bytes(self.model.cell_bytes, *candidate.settings.attention[1:])
        weights = 0 if candidate.is_original else self._files[candidate.recipe.name].stat().st_size
        return float(weights + cell * cells)

    def why_too_large(self, n_bytes: int) -> str | None:
        """Return why a file cannot be loaded beside the original; None if it can."""
        free = hardware.available_memory()
        if free is None or n_bytes <= _MEMORY_SHARE * free:
            return None
        return (
            f"it takes {format_size(n_bytes)} beside the original, and {format_size(free)} of memory are free"
        )
