"""``nucleus tune``: measure, choose, write what was asked for, and keep a profile."""

from __future__ import annotations

import datetime
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING

from engine import hardware
from engine.backend.base import BackendError
from engine.errors import ModelLoadError
from engine.loading.profiles import FasterFile, Place, Profile, default_settings
from engine.loading.trial import remember, try_out
from engine.models.names import locate
from engine.tuning.budget import Budget, Progress
from engine.tuning.interruption import Interruption, signals_as_exit
from engine.tuning.output import check_new, copy_new
from engine.tuning.plot import check_plot
from engine.tuning.report import TuningReport
from engine.tuning.workspace import Workspace, why_no_room

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engine.models.names import ModelFile
    from engine.tuning.candidate import Candidate
    from engine.tuning.lab import Lab
    from engine.tuning.settings import TuneSettings

_ALWAYS = (1, 8, 16)
"""Numbers of streams that are always timed."""
_POLL_S = 0.2


def _say_nothing(_progress: Progress) -> None:
    pass


def tune(
    settings: TuneSettings,
    *,
    progress: Callable[[Progress], None] = _say_nothing,
    clock: Callable[[], float] = time.monotonic,
) -> TuningReport:
    """Find out what is fastest for a model on this machine, within a limit of lost quality.

    Converted files are made in a temporary folder, which goes with the work, however it ends: Ctrl-C, SIGTERM
    and SIGHUP end it between two steps. The original is only read, and nothing is written over.

    Args:
        settings: What to measure, how long, and where to write.
        progress: Gets how far the work is, in another thread.
        clock: Seconds that only grow.

    Returns:
        Everything that was measured, and the choice. The profile is kept, and the converted file is written,
        before this returns.

    Raises:
        ModelLoadError: the model cannot be found or run.
        InvalidRequestError: something cannot be written where it is to be.
    """
    if settings.output is not None:
        check_new(settings.output, "output")
    if settings.plot is not None:
        check_plot(settings.plot)
    budget, interruption = Budget(settings.seconds, progress, clock), Interruption()
    budget.tell(0.0, "looking for the model")
    file = locate(settings.model)
    try_out(file)
    with signals_as_exit(), Workspace(settings.work_dir) as workspace, ThreadPoolExecutor(1) as thread:
        # In a thread that ends, and llama.cpp's threads with it: they would hold up those of a model that is
        # used afterwards.
        work = thread.submit(_Tuning(settings, file, workspace, budget, interruption).run)
        try:
            while not wait([work], timeout=_POLL_S).done:
                pass  # a signal that another thread has taken would not wake this one
            return work.result()
        finally:
            interruption.ask()


class _Tuning:
    """One run, in its own thread."""

    def __init__(
        self,
        settings: TuneSettings,
        file: ModelFile,
        workspace: Workspace,
        budget: Budget,
        interruption: Interruption,
    ) -> None:
        self._settings, self._file = settings, file
        self._workspace, self._budget, self._interruption = workspace, budget, interruption
        self._notes: list[str] = []

    def run(self) -> TuningReport:
        try:
            return self._measure()
        except BackendError as error:
            raise ModelLoadError(f"{str(self._file.path)!r} cannot be computed: {error}.") from error

    def _measure(self) -> TuningReport:
        from engine.backend import llama_model  # loads llama.cpp
        from engine.tuning.file_search import FileSearch
        from engine.tuning.lab import Lab
        from engine.tuning.settings_search import SettingsSearch

        asked = self._settings
        layers, _ = hardware.gpu_layers(asked.gpu_layers, has_gpu=llama_model.supports_gpu())
        lab = Lab(
            self._file.path,
            default_settings(),
            widths=sorted({*_ALWAYS, asked.streams}),
            gpu_layers=layers,
            workspace=self._workspace,
            budget=self._budget,
            interruption=self._interruption,
        )
        needs_seeds = asked.batch_invariant == "auto" and bool(lab.original.repeats_seeds)
        search = SettingsSearch(lab, asked.streams, asked.max_kl, needs_seeds=needs_seeds)
        best = search.combined(search.run())
        if best.quality is None:
            lab.assess(best)
        files = FileSearch(
            lab, self._file.path, best.settings, best.changes, streams=asked.streams, max_kl=asked.max_kl
        )
        tries_files = asked.files and not layers
        if asked.files and layers:
            self._notes.append("File types are tried on CPUs only: a GPU has fast kernels for all of them.")
        files.run([] if best is lab.original else [best], tries_files=tries_files)
        self._notes += files.notes
        report = TuningReport(
            model=self._file.name,
            path=self._file.path,
            date=datetime.date.today(),
            processor=hardware.processor(),
            seconds=self._budget.used,
            streams=asked.streams,
            max_kl=asked.max_kl,
            widths=lab.widths,
            n_prompt=lab.n_prompt,
            n_text=len(lab.tokens),
            n_context=lab.n_context,
            candidates=[lab.original, *search.candidates, *files.candidates],
            needs_seeds=needs_seeds,
            unrest=lab.rounds.unrest(asked.streams),
        )
        written = self._write(report, lab, asked.output) if asked.output is not None else None
        if asked.profile:
            self._keep(report, written, Place(self._file.path, llama_model.kernels(), layers))
        self._budget.tell(1.0, "done")
        return replace(report, notes=tuple(self._notes), written=written, seconds=self._budget.used)

    def _write(self, report: TuningReport, lab: Lab, output: Path) -> Path | None:
        """Write the chosen file; return its path, or None where there is none or no room for it."""
        choice = report.choice
        if choice.is_original:
            self._notes.append(f"Nothing was written to {output}: the file you have was chosen.")
            return None
        self._budget.tell(0.99, f"writing {output}")
        made = lab.file_of(choice)
        problem = why_no_room(output.parent, made.stat().st_size)
        try:
            if problem is None:
                copy_new(made, output)
                return output
        except FileExistsError:
            problem = "there is a file by now"
        except OSError as error:
            problem = error.strerror
        self._notes.append(f"{output} was not written: {problem}.")
        return None

    def _keep(self, report: TuningReport, written: Path | None, place: Place) -> None:
        """Keep a profile of the original, which may name the faster file, and one of that file."""
        before = place.read()
        faster = before.faster_file if before else None
        if written is not None:
            remember(written)  # it has run here
            profile = _profile(report, report.choice)
            replace(place, path=written).write(profile)
            faster = FasterFile(
                written.resolve(), written.stat().st_size, report.streams, profile.speedup, profile.mean_kl
            )
        profile = replace(_profile(report, report.settings_choice), faster_file=faster)
        place.write(profile)
        if place.read() != profile:
            self._notes.append("The profile could not be kept in the cache folder.")


def _profile(report: TuningReport, candidate: Candidate) -> Profile:
    return Profile(
        date=report.date,
        settings=candidate.settings,
        streams=report.streams,
        speedup=candidate.gain(report.streams) or 1.0,
        mean_kl=candidate.quality.mean_kl if candidate.quality else 0.0,
    )
