"""One JSON object a line on stderr: constant message, values as fields, ids and never codes."""

import json
import logging
import sys
from datetime import UTC, datetime

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Turns a record into one JSON object; fields come from `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "log": record.name,
            "message": record.getMessage(),
        }
        entry.update((k, v) for k, v in vars(record).items() if k not in _PLAIN)
        if record.exc_info and logging.getLogger().isEnabledFor(logging.DEBUG):
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def start_logging(level: str) -> None:
    """Log to stderr from `level` on; other libraries' chatter stays out below warning."""
    # Where stderr is gone or full there is nobody to tell; a traceback would not help.
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in ("kiosk", "hardware"):
        logging.getLogger(package).setLevel(level.upper())
    if level == "debug":
        logging.getLogger().setLevel(logging.DEBUG)
        logging.getLogger("urllib3").setLevel(logging.INFO)  # its debug lines hold URLs and bodies
