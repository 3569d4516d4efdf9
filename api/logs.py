"""How log lines look. Nothing secret may stand in one: no header, no body, no token, and no local variables."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from litestar.serialization import encode_json
from structlog.typing import Processor

from api.settings import Settings


def configure(settings: Settings) -> None:
    """Set structlog up for this process, on standard output."""
    console = settings.log_format == "console"
    # `plain_traceback` and `format_exc_info` print no local variables; structlog's default for consoles would.
    ends: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=as_json)]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *ends,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=structlog.PrintLoggerFactory() if console else structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=True,
    )


def as_json(line: Mapping[str, Any], *, default: Callable[[Any], Any]) -> bytes:
    """`line` as JSON; `default` says what stands for a value that JSON does not have."""
    try:
        return encode_json(line, default)
    except ValueError:  # half of a surrogate pair, which UTF-8 does not have
        return json.dumps(line, default=default).encode()
