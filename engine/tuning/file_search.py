"""Which file type, or mix of types, is fastest: converted, compared with the original, and timed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from engine.tuning import conversion
from engine.tuning.candidate import Candidate
from engine.tuning.choice import WORTHWHILE
from engine.tuning.conversion import ConversionError, convert
from engine.tuning.mixes import Sides, best_mix
from engine.tuning.recipe import alone, groups, mix, uniform_recipes
from engine.tuning.tensors import read_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from engine.loading.profiles import RunSettings
    from engine.tuning.lab import Lab
    from engine.tuning.mixes import Mix
    from engine.tuning.recipe import Recipe

_COMPARED: Final = 0.6
"""Share of all the time until which file types are converted and compared."""
_MIXED: Final = 0.85
"""Share until which mixes are looked for."""
_ROUNDS: Final = 7
"""Most rounds in which the survivors are timed."""
_CAUTION: Final = 0.95
"""Share of the limit that the estimate of a mix may reach."""
_TRIES: Final = 2


class FileSearch:
    """Tries files of other types, run with the settings that were chosen before."""

    def __init__(
        self,
        lab: Lab,
        path: Path,
        settings: RunSettings,
        changes: tuple[str, ...],
        *,
        streams: int,
        max_kl: float,
    ) -> None:
        self._lab, self._path = lab, path
        self._settings, self._changes = settings, changes
        self._streams, self._max_kl = streams, max_kl
        self._tensors = read_tensors(path)
        self.candidates: list[Candidate] = []
        self.notes: list[str] = []

    def run(self, tuned: Sequence[Candidate], *, tries_files: bool) -> None:
        """Convert, compare and time.

        Args:
            tuned: Candidates of the original with other settings, which are timed once more beside the files.
            tries_files: Whether there are to be files at all.
        """
        if tries_files:
            self._compare_uniform()
        compared = [each for each in self.candidates if each.quality is not None]
        within = [*tuned, *(each for each in compared if each.is_within(self._max_kl))]
        all_files = [*within, *self._bad_bargains(compared, len(within))]
        tell = partial(self._tell_round, "timing all files", _COMPARED, _COMPARED)
        self._lab.time(all_files, rounds=1, share=_MIXED, tell=tell)
        if tries_files and (mixed := self._find_mix()) is not None:
            within.append(mixed)
        for each in compared:
            if not each.is_within(self._max_kl):
                self._lab.remove_file(each.recipe.name)  # it is not timed again
        if within:
            tell = partial(self._tell_round, f"timing {len(within)} in turn", _MIXED, 1.0)
            self._lab.time(within, rounds=_ROUNDS, share=1.0, tell=tell)

    def _tell_round(self, doing: str, first: float, last: float, number: int) -> None:
        self._lab.budget.tell(first + (last - first) * number / _ROUNDS, doing)

    def _bad_bargains(self, compared: Sequence[Candidate], n_within: int) -> list[Candidate]:
        """Return what is beyond the limit, to be timed once if there is time: a bad bargain is to be seen."""
        bad = [each for each in compared if each.quality is not None and each.quality.is_finite]
        bad = [each for each in bad if not each.is_within(self._max_kl)]
        if self._lab.can_time(n_within + len(bad), _MIXED):
            return bad
        for each in bad:
            each.notes.append("not timed: no time left")
        return []

    def _compare_uniform(self) -> None:
        if not conversion.is_possible():
            self.notes.append("No files were converted: there is no Python to start.")
            return
        recipes = uniform_recipes(self._tensors)
        for number, recipe in enumerate(recipes):
            candidate = self._candidate(recipe)
            share = 0.3 + 0.3 * number / len(recipes)
            if self._convert(candidate, share, _COMPARED):
                self._lab.budget.tell(share + 0.15 / len(recipes), f"comparing {recipe.name}")
                self._assess(candidate)

    def _candidate(self, recipe: Recipe) -> Candidate:
        candidate = Candidate(recipe, self._settings, self._changes)
        self.candidates.append(candidate)
        return candidate

    def _convert(self, candidate: Candidate, fraction: float, share: float) -> bool:
        """Write a candidate's file; where that is impossible, note why."""
        recipe, lab = candidate.recipe, self._lab
        n_bytes = recipe.n_bytes(self._tensors)
        problem = lab.workspace.why_no_room(n_bytes) or lab.why_too_large(n_bytes)
        seconds = lab.budget.left_until(share) - lab.assess_estimate
        if problem is None and seconds <= 0:
            problem = "no time left"
        if problem is not None:
            candidate.notes.append(f"not tried: {problem}")
            return False
        lab.budget.tell(fraction, f"converting to {recipe.name}")
        lab.check()
        target = lab.workspace.new_path(".gguf")
        try:
            convert(
                self._path,
                target,
                {tensor.name: recipe.type_of(tensor) for tensor in self._tensors},
                main_type=recipe.main_type(self._tensors),
                timeout_s=seconds,
                started=lab.interruption.watch,
            )
        except ConversionError as error:
            lab.check()
            candidate.notes.append(f"could not be converted: {error}")
            return False
        lab.add_file(recipe.name, target)
        return True

    def _assess(self, candidate: Candidate) -> None:
        self._lab.assess(candidate)
        if candidate.quality is not None and not candidate.is_within(self._max_kl):
            candidate.notes.append("beyond the limit")

    def _find_mix(self) -> Candidate | None:
        """Return a mix of the best file within the limit and a faster one beyond it, if one should pay."""
        precise = self._precise()
        fast = self._fast(precise)
        if fast is None or fast.quality is None or precise.quality is None:
            return None
        kind = fast.recipe.main_type(self._tensors)
        losses = self._losses(kind)
        sides = Sides(
            precise.gain(self._streams) or 1.0,
            fast.gain(self._streams) or 1.0,
            precise.quality.mean_kl,
        )
        shares = groups(self._tensors)
        for _ in range(_TRIES):
            found = best_mix(sides, shares, losses, _CAUTION * self._max_kl) if losses else None
            if found is None or found.gain < sides.precise_gain * WORTHWHILE:
                self._note_no_mix(found, sides, kind)
                return None
            candidate = self._candidate(mix(precise.recipe, kind, found.roles))
            if not self._convert(candidate, 0.8, _MIXED + 0.05):
                return None
            self._assess(candidate)
            if candidate.is_within(self._max_kl):
                return candidate
            losses = _without_costliest(losses, found)
        return None

    def _precise(self) -> Candidate:
        """Return the fastest file within the limit, which may be the original."""
        original = self._lab.original
        within = [each for each in self.candidates if each.is_within(self._max_kl) and each.speed]
        return max([original, *within], key=lambda each: each.gain(self._streams) or 1.0)

    def _fast(self, precise: Candidate) -> Candidate | None:
        """Return the file beyond the limit that saves most time for what it loses; None if none is faster."""
        least = WORTHWHILE * (precise.gain(self._streams) or 1.0)
        faster = [
            (1 / least - 1 / gain, each.quality.mean_kl, each)
            for each in self.candidates
            if each.quality is not None
            and each.quality.is_finite
            and not each.is_within(self._max_kl)
            and (gain := each.gain(self._streams) or 0.0) > least
        ]
        return max(faster, key=lambda each: each[0] / each[1])[2] if faster else None

    def _losses(self, kind: str) -> dict[str, float]:
        """Return what it costs to convert the weights of each role alone."""
        losses = {}
        roles = groups(self._tensors)
        for number, role in enumerate(roles):
            candidate = Candidate(alone(kind, role), self._settings, self._changes)
            if not candidate.recipe.changes(self._tensors):
                continue
            known = next((each for each in self.candidates if each.recipe == candidate.recipe), None)
            if known is not None and known.quality is not None:
                losses[role] = known.quality.mean_kl
                continue
            if not self._convert(candidate, 0.7 + 0.1 * number / len(roles), _MIXED - 0.05):
                self.notes.append(f"Mixes: {candidate.recipe.name}: {candidate.notes[-1]}.")
                continue
            self._lab.assess(candidate)
            self._lab.remove_file(candidate.recipe.name)
            if candidate.quality is not None:
                losses[role] = candidate.quality.mean_kl
        return losses

    def _note_no_mix(self, found: Mix | None, sides: Sides, kind: str) -> None:
        expected = (
            f"the best would be {found.gain / sides.precise_gain:.2f} times as fast" if found else "none"
        )
        self.notes.append(f"No mix with {kind.upper()} pays within the limit: {expected}.")


def _without_costliest(losses: dict[str, float], found: Mix) -> dict[str, float]:
    """Return the losses without the role of a mix that costs most: the mix lost more than their sum."""
    costliest = max(found.roles, key=losses.__getitem__)
    return {role: loss for role, loss in losses.items() if role != costliest}
