"""One JSON object a line on stderr: constant message, values as fields, ids and never codes."""

import json
import logging
import sys
from datetime import UTC, datetime

from kiosk.log_limit import SparingHandler

MOST_CHARACTERS = 2000
"""Of one field. What is longer came from outside, and its begin says what it is."""
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Turns a record into one JSON object; fields come from `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "log": record.name,
            "message": _short(record.getMessage()),
        }
        entry.update((k, _short(v)) for k, v in vars(record).items() if k not in _PLAIN)
        if record.exc_info and logging.getLogger().isEnabledFor(logging.DEBUG):
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def _short(value: object) -> object:
    if isinstance(value, str) and len(value) > MOST_CHARACTERS:
        return f"{value[:MOST_CHARACTERS]}… ({len(value)} characters)"
    return value


def start_logging(level: str) -> None:
    """Log to stderr from `level` on; other libraries' chatter stays out below warning."""
    # Where stderr is gone or full there is nobody to tell; a traceback would not help.
    logging.raiseExceptions = False
    handler = SparingHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in ("kiosk", "hardware"):
        logging.getLogger(package).setLevel(level.upper())
    if level == "debug":
        logging.getLogger().setLevel(logging.DEBUG)
        logging.getLogger("urllib3").setLevel(logging.INFO)  # its debug lines hold URLs and bodies
