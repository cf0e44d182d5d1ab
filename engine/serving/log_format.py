"""How lines of the log look: text for people, or a JSON object each for programs."""

from __future__ import annotations

import logging

log = logging.getLogger("nucleus.server")


def json_formatter() -> logging.Formatter:
    r"""Return what writes a record as a JSON object in one line.

    >>> json_formatter().format(logging.makeLogRecord({"name": "a", "levelname": "INFO", "msg": "x\ny"}))
    '{"level": "INFO", "logger": "a", "message": "x\\ny", "time": "…"}'

    A record whose message is a mapping has its fields beside these; one with an exception has ``exception``.
    """
    from pythonjsonlogger.json import JsonFormatter

    names = {"levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"}
    return JsonFormatter("%(levelname)s %(name)s %(message)s", rename_fields=names, timestamp="time")


def say_to_log(line: str, *, style: str = "") -> None:
    """Log a line of the start; the only ones with a style of their own are warnings."""
    log.log(logging.WARNING if style else logging.INFO, "%s", line.strip())
