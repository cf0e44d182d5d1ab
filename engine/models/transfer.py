"""One file from an address to the disk: from where an earlier try stopped, and never more than was announced.

huggingface_hub has such a function, but not one for slow or broken networks: it writes pieces of ten
megabytes and loses those that are not full when a connection drops, and it removes what it has when it fails.
"""

from __future__ import annotations

import os
from time import sleep
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PAUSES_S: Final = (1, 2, 4, 8, 8)
"""How long to wait before each try that follows one without a new byte; after the last, it is given up."""
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that may be others a moment later."""
_BEYOND: Final = 416


class WrongLengthError(Exception):
    """A file is shorter or longer than it was said to be; the message says what came."""


def receive(
    url: str,
    partial: Path,
    n_bytes: int,
    *,
    label: str,
    tqdm_class: type[Any] | None,
    say: Callable[[str], None],
) -> None:
    """Receive what is missing of a file; what came stays, whatever happens.

    Args:
        url: Its address on the hub, which may redirect to another host.
        partial: Where it lies as long as it is not whole.
        n_bytes: The bytes that it has.
        label: What the progress bar calls it.
        tqdm_class: The class of the progress bar; None for huggingface_hub's own.
        say: Called with a line when a connection is dropped.

    Raises:
        WrongLengthError: it has not so many bytes.
        Exception: the hub cannot be reached, or refuses, or the disk does.
    """
    from huggingface_hub.errors import HTTPError

    with partial.open("ab") as out, _progress_bar(tqdm_class, label, out.tell(), n_bytes) as bar:
        failures = 0
        while (begun := out.tell()) < n_bytes:
            try:
                _receive_rest(url, out, n_bytes, bar)
                error: Exception | None = None
            except HTTPError as caught:
                if not _passes(caught, begun):
                    raise
                error = caught
            failures = 0 if out.tell() > begun else failures + 1
            if failures > len(_PAUSES_S):
                raise error or WrongLengthError(f"{begun} bytes")
            if error is not None:
                if hasattr(bar, "clear"):  # it stands where the line goes
                    bar.clear()
                say(f"The connection was lost ({type(error).__name__}); going on with {label}.")
                sleep(_PAUSES_S[max(0, failures - 1)])
        out.flush()
        os.fsync(out.fileno())


def _progress_bar(tqdm_class: type[Any] | None, label: str, initial: int, total: int) -> Any:
    from huggingface_hub.utils import tqdm

    ours = {"disable": None} if tqdm_class is None else {}  # without a terminal, nothing is shown
    return (tqdm_class or tqdm)(
        desc=label, initial=initial, total=total, unit="B", unit_scale=True, unit_divisor=1000, **ours
    )


def _receive_rest(url: str, out: BinaryIO, n_bytes: int, bar: Any) -> None:
    """Receive in one response what is missing, or less if it ends early."""
    from huggingface_hub import constants, get_session, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers

    position = out.tell()
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if position:
        headers["Range"] = f"bytes={position}-"
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    request = get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True)
    with request as response:
        hf_raise_for_status(response)
        if position and response.status_code != 206:  # it knows no ranges, and begins anew
            out.seek(0)
            out.truncate()
            bar.update(-position)
            position = 0
        for piece in response.iter_bytes():
            position += len(piece)
            if position > n_bytes:
                raise WrongLengthError("more")
            out.write(piece)
            bar.update(len(piece))


def _passes(error: Exception, begun: int) -> bool:
    """Return True if it is worth trying again after an error.

    Raises:
        WrongLengthError: it says that the file ends before it should.
    """
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(error, HfHubHTTPError):
        return True
    if error.response.status_code == _BEYOND:
        raise WrongLengthError(f"no more than {begun} bytes") from error
    return error.response.status_code in _PASSING
