"""Sets up logging, here and nowhere else: readable lines on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import sys

import structlog


def set_up(*, verbose: bool = False, quiet: bool = False, silent: bool = False) -> None:
    """Send all log lines to stderr; results are the commands' own, on stdout.

    `quiet` is for commands that report their progress themselves; `verbose` takes precedence over
    it. `silent` drops every line.
    """
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    if silent:
        level = logging.CRITICAL  # nothing of ours is that severe
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=True)
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
