"""Files that are written where the user asks, and never over anything."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from pathlib import Path


def check_new(path: Path, param: str) -> None:
    """Refuse a path at which there is something, or at which nothing can be made.

    Raises:
        InvalidRequestError: it cannot be written; it says why.
    """
    flag = f"--{param}"
    if os.path.lexists(path):
        raise InvalidRequestError(
            f"{flag}: there is a file at {str(path)!r} already.",
            param=param,
            hint="Nothing is written over: name another one.",
        )
    if not path.parent.is_dir():
        raise InvalidRequestError(f"{flag}: there is no folder {str(path.parent)!r}.", param=param)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InvalidRequestError(f"{flag}: {str(path.parent)!r} cannot be written.", param=param)


def copy_new(source: Path, target: Path) -> None:
    """Copy a file to a path at which there is nothing; it gets its name when it is whole.

    Raises:
        FileExistsError: there is something by now.
        OSError: it cannot be written; nothing is left there.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with source.open("rb") as whole, partial.open("xb") as part:
            shutil.copyfileobj(whole, part, 1 << 20)
            part.flush()
            os.fsync(part.fileno())
        _name(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _name(partial: Path, target: Path) -> None:
    """Give a file its name, unless something has it: a link never replaces anything, as a rename would."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:  # a disk without links
        with target.open("xb") as whole, partial.open("rb") as part:
            try:
                shutil.copyfileobj(part, whole, 1 << 20)
            except BaseException:
                with suppress(OSError):
                    target.unlink()
                raise
