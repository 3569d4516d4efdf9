"""What the sandbox is told at its start; command-line arguments only, never the environment."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

API_VERSION = "2026-10-28.endive"
"""The version that stripe 16.1.0 pins and that every answer and event is written in."""


@dataclass(frozen=True, kw_only=True)
class SandboxConfig:
    """Settings of one sandbox. Times in seconds; nothing secret shows in `repr`."""

    public_url: str = "http://127.0.0.1:4242"
    """Where a browser reaches the hosted page, without a slash at the end."""
    state_file: Path | None = None
    """SQLite file that survives a restart; `None` keeps everything in memory."""
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    settle_delay_s: float = 0.5
    """From a matched deposit (`processing`) to `succeeded`; Stripe's own test helper takes up to 15 s."""
    balance_delay_s: float = 0.2
    """From `charge.succeeded` to `charge.updated` with its balance transaction; Stripe takes up to an hour."""
    retry_base_s: float = 1.0
    """Wait before the second delivery of a letter; doubled for each further one."""
    delivery_attempts_max: int = 8
    delivery_timeout_s: float = 10.0
    clock: Callable[[], float] = time.time
