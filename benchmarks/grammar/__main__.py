"""Feeds the instances of JSON schemas, token by token, through the masks of their grammars.

Times are those of a processor, so that other programs on the machine do not count.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.grammar.vocabulary import packaged_model, vocabulary_of
from benchmarks.report import Table
from engine.grammar.compiler import GrammarCompiler
from engine.grammar.form import Form, GrammarError
from engine.models.packaged import DEFAULT_MODEL, PACKAGED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.backend.llama_model import LlamaModel
    from engine.grammar.matcher import Matcher

_MICRO, _MILLI = 1e6, 1e3


@dataclass
class Found:
    """What came of the schemas."""

    schemas: int = 0
    passed: int = 0
    refused_valid: list[str] = field(default_factory=list)
    accepted_invalid: list[str] = field(default_factory=list)
    failed_masks: list[str] = field(default_factory=list)
    errors: list[tuple[str, GrammarError]] = field(default_factory=list)
    compiles: list[float] = field(default_factory=list)
    masks: list[float] = field(default_factory=list)
    takes: list[float] = field(default_factory=list)


class Measurement:
    """Schemas and their instances on one vocabulary."""

    def __init__(self, model: LlamaModel) -> None:
        self.found = Found()
        self._model = model
        self._compiler = GrammarCompiler(vocabulary_of(model))
        self._mask = np.zeros((model.info.n_vocab + 31) // 32, np.uint32)

    def measure(self, name: str, schema: Any, tests: list[dict[str, Any]]) -> None:
        """Compile a schema, and hold its instances to it."""
        found = self.found
        found.schemas += 1
        form = Form("json_schema", json.dumps(schema, ensure_ascii=False))
        begin = time.thread_time()
        try:
            matcher = self._compiler.compile(form)
        except GrammarError as error:
            found.errors.append((name, error))
            return
        finally:
            found.compiles.append(time.thread_time() - begin)
        wrong = 0
        for i, test in enumerate(tests):
            try:
                accepted = self._accepts(matcher.copy(), test["data"])
            except GrammarError as error:
                found.failed_masks.append(f"{name}[{i}]: {error.message}")
                accepted = False
            if accepted != test["valid"]:
                wrong += 1
                (found.accepted_invalid if accepted else found.refused_valid).append(f"{name}[{i}]")
        found.passed += not wrong

    def _accepts(self, matcher: Matcher, data: Any) -> bool:
        text = json.dumps(data, ensure_ascii=False)
        for token in self._model.tokenize(text, add_special=False):
            began = time.thread_time()
            matcher.fill(self._mask.ctypes.data, self._mask.nbytes)
            filled = time.thread_time()
            self.found.masks.append(filled - began)
            matcher.check()
            if not self._mask[token >> 5] >> (token & 31) & 1:
                return False
            began = time.thread_time()
            matcher.take(token)
            self.found.takes.append(time.thread_time() - began)
        return matcher.may_end


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grammar", description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path, help="a line for each schema: JSON with name, schema and tests")
    parser.add_argument("--model", choices=list(PACKAGED), default=DEFAULT_MODEL, help="default: %(default)s")
    asked = parser.parse_args()
    measurement = Measurement(packaged_model(asked.model))
    for line in lines(asked.path):
        measurement.measure(line["name"], line["schema"], line["tests"])
    _print(measurement.found)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        yield from map(json.loads, file)


def _print(found: Found) -> None:
    print(f"{found.passed} of {found.schemas} schemas pass ({found.passed / found.schemas:.1%})")
    for what, names in (
        ("invalid instances accepted", found.accepted_invalid),
        ("valid instances refused", found.refused_valid),
        ("masks over a limit", found.failed_masks),
    ):
        print(f"{len(names)} {what}", *names, sep="\n    ")
    print(f"{len(found.errors)} schemas refused")
    keywords = Counter(error.path.rsplit(".", 1)[-1] or error.message[:80] for _, error in found.errors)
    for keyword, count in keywords.most_common():
        print(f"    {count:4} {keyword}")
    table = Table({"": "<12", "p50": ">9.1f", "p90": ">9.1f", "p99": ">9.1f", "max": ">11.1f"})
    print(table.heading)
    for name, seconds, unit in (
        ("compile ms", found.compiles, _MILLI),
        ("mask us", found.masks, _MICRO),
        ("take us", found.takes, _MICRO),
    ):
        print(table.line(name, *(np.percentile(seconds, [50, 90, 99, 100]) * unit).tolist()))


if __name__ == "__main__":
    main()
