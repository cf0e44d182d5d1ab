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
    from engine.serving.server import run

    configure_logging(settings.log_level, BackgroundLog(sys.stderr.fileno()))
    run(settings, say=partial(out.print, markup=False))  # an IPv6 address stands in brackets
