"""What lives in one process, because its threads and its memory do."""

from __future__ import annotations

from typing import NoReturn


class ProcessBound:
    """An object that can be neither pickled nor copied, and says what to do instead."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled or copied: it is bound to this process. Threads can "
            "share it; to another process, send the model's name and options, and load the model there."
        )
