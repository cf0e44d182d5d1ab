"""A model loaded beside the thread that asks for it, from Python's keyword arguments."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from engine.contract.messages import to_invalid_request
from engine.errors import InvalidRequestError
from engine.loading.launch import launch
from engine.loading.options import EngineOptions, meant

if TYPE_CHECKING:
    from concurrent.futures import Future

    from engine.loading.launch import Launched
    from engine.service.service import CompletionService


def load(model: str, options: dict[str, Any]) -> CompletionService:
    """Load a model in a thread of its own.

    An interrupt at the keyboard is raised in the main thread, and llama.cpp would swallow it there, whenever
    it is calling Python to log.

    Raises:
        ModelLoadError: the model cannot be found or loaded.
        InvalidRequestError: an option is unknown or out of range.
    """
    checked = _options(model, options)
    with ThreadPoolExecutor(1, thread_name_prefix="nucleus-load") as thread:
        loading = thread.submit(launch, checked)
        try:
            return loading.result().service
        except BaseException:
            loading.add_done_callback(_stop_loaded)
            raise


def _stop_loaded(loading: Future[Launched]) -> None:
    if loading.exception() is None:
        loading.result().service.stop()


def _options(model: str, options: dict[str, Any]) -> EngineOptions:
    try:
        return EngineOptions(model=model, **options)
    except ValidationError as error:
        for unknown in (name for name in options if name not in EngineOptions.model_fields):
            if near := meant(unknown, EngineOptions.model_fields):
                raise InvalidRequestError(
                    f"{unknown!r:.80} is unknown; did you mean {near!r}?", param=unknown
                ) from None
        raise to_invalid_request(error, is_flat=True) from None
