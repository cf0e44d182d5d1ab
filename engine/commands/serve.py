"""``nucleus serve``."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from engine.commands.options import SettingsOptions, takes
from engine.commands.terminal import configure_logging, out
from engine.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable


@takes(settings=SettingsOptions(ServeSettings, argument="model"))
def serve(settings: ServeSettings) -> None:
    """Serve a model over HTTP and gRPC.

    nucleus serve

    nucleus serve my-model.gguf --http-port 9000 --api-key-file keys.txt
    """
    from engine.serving.background_log import BackgroundLog
    from engine.serving.log_format import json_formatter, say_to_log
    from engine.serving.server import run

    handler = BackgroundLog(sys.stderr.fileno())
    say: Callable[..., None] = partial(out.print, markup=False)  # an IPv6 address stands in brackets
    if settings.log_format == "json":
        handler.setFormatter(json_formatter())
        say = say_to_log  # wherever the two streams end up together, each line is an object
    configure_logging(settings.log_level, handler)
    run(settings, say=say)
