"""A service whose model costs no time, for what does not depend on what a model says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.contract.limits import Limits
from engine.core.engine import Engine
from engine.service.service import CompletionService
from tests.core.fake_backend import N_VOCAB, FakeBackend

if TYPE_CHECKING:
    from engine.backend.base import Backend


class AnyText(FakeBackend):
    """A fake model that takes any text: each character is one of its tokens."""

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        return [0] * add_special + [ord(character) % (N_VOCAB - 2) + 1 for character in text]


def engine_of(backend: Backend, *, max_logprobs: int = 5, max_requests: int = 64) -> Engine:
    return Engine(backend, max_logprobs=max_logprobs, max_requests=max_requests)


def service_of(
    engine: Engine, *, max_logprobs: int = 5, max_seconds: float | None = None
) -> CompletionService:
    return CompletionService(
        engine,
        name="fake",
        limits=Limits(max_logprobs=max_logprobs),
        max_model_len=engine.backend.n_cells,
        max_seconds=max_seconds,
    )
