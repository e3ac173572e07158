"""Logging set-up of the scripts; the package itself only asks for loggers."""

import json
import logging
from pathlib import Path
from typing import Any


def setup_logger(level: int = logging.INFO) -> None:
    """Send log lines to the terminal; call it once, in a script."""
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    for chatty in ("fontTools", "httpx", "matplotlib", "PIL"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def append_json_line(path: Path, record: dict[str, Any]) -> None:
    """Add one record to a JSON-lines file, upstream's ``log.txt`` form."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
