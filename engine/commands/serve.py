"""``nucleus serve``."""

from __future__ import annotations

import sys
from functools import partial

from engine.commands.options import SettingsOptions, takes
from engine.commands.terminal import configure_logging, out
from engine.settings import ServeSettings


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
    is_json = settings.log_format == "json"
    if is_json:
        handler.setFormatter(json_formatter())
    configure_logging(settings.log_level, handler)
    # In a container both streams end up in one place, and there each line is to be an object. Without markup:
    # an IPv6 address stands in brackets.
    run(settings, say=say_to_log if is_json else partial(out.print, markup=False))
