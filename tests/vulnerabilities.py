"""Ask whether a locked dependency has a known vulnerability; a part of `make check`.

`uv audit` asks OSV about the whole of uv.lock at once, with all extras and groups. Where OSV cannot
be reached that is said in a line, and is no failure; whatever else goes wrong is one.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
UV = ROOT / ".tools/bin/uv"
COMMAND = (UV, "audit", "--locked", "--preview-features", "audit", "--color", "never")

QUICK = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "15"}
"""Who is without a network shall not wait for it."""

FOUND_NOTHING, COULD_NOT_ASK = 0, 2
UNREACHED = "error sending request for url"
"""What uv says when no connection comes about, and not when something answers that it refuses."""


def audit(service_url: str | None = None) -> int:
    """Ask, tell what was found, and return the exit code."""
    where = ("--service-url", service_url) if service_url else ()
    asked = subprocess.run(
        [*COMMAND, *where],
        cwd=ROOT,
        env=os.environ | QUICK,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == FOUND_NOTHING:
        return 0
    if asked.returncode == COULD_NOT_ASK and UNREACHED in asked.stderr:
        print("vulnerabilities of dependencies: not looked for, api.osv.dev cannot be reached")
        return 0
    print(asked.stdout, asked.stderr, sep="\n", file=sys.stderr)
    return asked.returncode


if __name__ == "__main__":
    sys.exit(audit(*sys.argv[1:2]))
