"""How a request fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.client import CallError

if TYPE_CHECKING:
    from collections.abc import Awaitable


async def told(asked: Awaitable[object]) -> CallError:
    """Return the error that a request ends with."""
    with pytest.raises(CallError) as caught:
        await asked
    return caught.value
