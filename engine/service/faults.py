"""Faults of the server itself, at the border to its doors: they are logged, and told as the contract says."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.errors import EngineError, InternalError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("nucleus.service")


@contextmanager
def faults_as_internal_errors() -> Iterator[None]:
    """Let out only errors that a caller is meant to see.

    Raises:
        InternalError: in place of any other exception, which is its cause.
    """
    try:
        yield
    except (EngineError, StopAsyncIteration):
        raise
    except Exception as error:
        log.exception("a request failed")
        raise InternalError.of(error) from error
