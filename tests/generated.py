"""Compare what is written from the code with what is committed; `make generate` writes it anew."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from chart_files import CHART_FILES
from program_executor.commands.documents import (
    commands_page,
    events_page,
    metrics_page,
    openapi_document,
    settings_page,
)
from program_executor.commands.reference import reference_page

ROOT = Path(__file__).parent.parent

EXPECTED: dict[str, Callable[[], str]] = {
    "openapi/program-executor.json": lambda: (
        json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"
    ),
    "docs/settings.md": settings_page,
    "docs/metrics.md": metrics_page,
    "docs/events.md": events_page,
    "docs/cli.md": commands_page,
    **CHART_FILES,
    "docs/reference.md": lambda: reference_page(openapi_document()),
}


def stale() -> list[str]:
    """Return the files that are not as the code says."""
    return [
        path
        for path, expected in EXPECTED.items()
        if not (ROOT / path).exists() or (ROOT / path).read_text() != expected()
    ]


if __name__ == "__main__":
    if found := stale():
        sys.exit(f"not up to date: {', '.join(found)}; run `make generate`")
