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
    except EngineError:
        raise
    except Exception as error:
        raise as_internal_error(error) from error


def as_internal_error(error: Exception) -> InternalError:
    """Log a fault, and return what the caller is told of it."""
    log.error("a request failed", exc_info=error)
    return InternalError.of(error)
