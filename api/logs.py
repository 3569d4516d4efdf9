"""How log lines look. Nothing secret may stand in one: no header, no body, no token, and no local variables."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from api.settings import Settings


def configure(settings: Settings) -> None:
    """Set structlog up for this process, on standard output."""
    console = settings.log_format == "console"
    # `plain_traceback` and `format_exc_info` print no local variables; structlog's default for consoles would.
    ends: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *ends,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        cache_logger_on_first_use=True,
    )
