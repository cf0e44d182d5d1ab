"""The corpus: cases that once found something, one JSON file each in ``corpus/``.

A case of few tokens is stored number by number. A larger one is stored as its seed and the generator's
version, and is worth something only as long as the generator is that version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.sampler.case_json import from_json, to_json
from tests.sampler.generator import VERSION, random_case

if TYPE_CHECKING:
    from tests.sampler.case import Case

FOLDER = Path(__file__).parent / "corpus"
STORED_WHOLE = 300
"""The most tokens of a case that is stored number by number."""


def entry(case: Case, seed: int | None, note: str) -> dict[str, Any]:
    """Return what stands for a case in the corpus.

    Raises:
        ValueError: The case is large and has no seed.
    """
    origin: dict[str, Any] = {"note": note}
    if seed is not None:
        origin |= {"seed": seed, "generator": VERSION}
    if case.n_vocab <= STORED_WHOLE:
        return origin | {"case": to_json(case)}
    if seed is None:
        raise ValueError(f"a case of {case.n_vocab} tokens is stored as its seed, and this one has none")
    return origin


def load(data: dict[str, Any]) -> Case:
    """Return the case of an entry.

    Raises:
        ValueError: The entry is a seed for another version of the generator.
    """
    if "case" in data:
        return from_json(data["case"])
    if not 1 <= data["generator"] <= VERSION:
        raise ValueError(f"made by version {data['generator']} of the generator, which is {VERSION} now")
    return random_case(data["seed"], data["generator"])


def save(data: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write an entry under the next free number, and return where."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.stem) for path in folder.glob("[0-9]*.json")]
    path = folder / f"{max(numbers, default=0) + 1:03}.json"
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return path
