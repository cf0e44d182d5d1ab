"""Which files of a repository a name means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEFAULT_QUANTS: Final = ("Q4_K_M", "Q8_0")
_SPLIT: Final = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>(?!00000)\d{5})", re.ASCII | re.DOTALL)
_NOT_A_MODEL: Final = re.compile(r"(?<![a-z0-9])(?:mmproj|imatrix)(?![a-z0-9])", re.IGNORECASE)
_QUANT: Final = re.compile(
    r"(?<![a-z0-9_])(?:UD-)?(?:I?Q\d\w*|BF16|F16|F32|TQ\d_\d|MXFP4\w*)(?![a-z0-9_])", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """One model in a repository: a single file, or all the parts of a split one."""

    stem: str
    """The file's path without ``.gguf`` and without the number of the part."""
    count: str
    """How many parts, as five digits; empty for a single file."""

    @classmethod
    def of(cls, file: str) -> Candidate:
        """Return the model that a file belongs to."""
        stem = file.removesuffix(".gguf")
        split = _SPLIT.fullmatch(stem)
        return cls(split["stem"], split["count"]) if split else cls(stem, "")

    def files(self) -> list[str]:
        """Return the names of its files, in order."""
        if not self.count:
            return [f"{self.stem}.gguf"]
        return [f"{self.stem}-{part:05}-of-{self.count}.gguf" for part in range(1, int(self.count) + 1)]

    @property
    def base(self) -> str:
        """The name without folders."""
        return self.stem.rpartition("/")[2]

    def is_named(self, name: str) -> bool:
        """Return True if it is called ``name``, in any case."""
        return self.base.lower() == name.lower()

    def has_part(self, quant: str) -> bool:
        """Return True if ``quant`` is a whole part of the name; F16 is not a part of BF16."""
        return bool(re.search(rf"(?<![a-z0-9_]){re.escape(quant)}(?![a-z0-9_])", self.stem, re.IGNORECASE))

    def shortest(self, models: Sequence[Candidate]) -> str:
        """Return the shortest text that means this one among ``models``: its quantisation, or its name."""
        found = _QUANT.findall(self.stem)
        if found and meant(found[-1], models) == [self]:
            return str(found[-1])
        return self.base


def models_in(files: Iterable[str]) -> list[Candidate]:
    """Return the models that some files are, in the order of their names; some may lack files."""
    return sorted({Candidate.of(file) for file in files if _is_model(file)})


def choose(repo: str, files: Iterable[str], quant: str | None) -> list[str]:
    """Return the files of the one model that ``quant`` means among ``files``; without it, of the default.

    Raises:
        ModelLoadError: it means none of them, or several, or files of it are missing.
    """
    there = {file for file in files if _is_model(file)}
    models = models_in(there)
    fits: list[Candidate] = []
    for wanted in (quant,) if quant else DEFAULT_QUANTS:
        fits = fits or meant(wanted, models)
    if not quant and len(models) == 1:
        fits = models
    if len(fits) != 1:
        raise _no_single_model(repo, quant, fits, models)
    if missing := sorted(set(fits[0].files()) - there):
        raise ModelLoadError(
            f"{repo!r} lacks {len(missing)} parts of {fits[0].stem!r}, {missing[0]!r} among them."
        )
    return fits[0].files()


def _is_model(file: str) -> bool:
    return file.endswith(".gguf") and not _NOT_A_MODEL.search(file)


def meant(name: str, models: Sequence[Candidate]) -> list[Candidate]:
    """Return the models that are called ``name``; if none is, those that have it as a part of their names."""
    return [model for model in models if model.is_named(name)] or [
        model for model in models if model.has_part(name)
    ]


def _no_single_model(
    repo: str, quant: str | None, fits: list[Candidate], models: list[Candidate]
) -> ModelLoadError:
    if not models:
        return ModelLoadError(
            f"{repo!r} holds no GGUF model.", hint="Look for a repository with GGUF in its name."
        )
    asked = repr(quant) if quant else " or ".join(DEFAULT_QUANTS)
    # The repository's owner chose the names: repr keeps control characters out of the terminal.
    names = [repr(model.stem) for model in fits or models]
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return ModelLoadError(
        f"{asked} fits {len(fits) or 'none'} of the models in {repo!r}: {listed}.",
        hint=f"Add :QUANT, a part that only one of the names has, or the name itself, as in {repo}:Q4_K_M.",
    )
