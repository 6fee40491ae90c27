# SPDX-License-Identifier: Apache-2.0
"""Logs: one JSON object a line on stderr, with the event's name and its facts: `log.info("envoy.ready", listeners=3)`."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone

_LOGGER = logging.getLogger("meshwright.agent")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        line: dict[str, object] = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage()}
        line.update(getattr(record, "facts", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure() -> None:
    """To be called once by a process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def info(event: str, **facts: object) -> None:
    _LOGGER.info(event, extra={"facts": facts})


def warning(event: str, **facts: object) -> None:
    _LOGGER.warning(event, extra={"facts": facts})


def error(event: str, **facts: object) -> None:
    _LOGGER.error(event, extra={"facts": facts})
