"""Run the storm over products with one mistake each, which it must find: `make mutants`.

A check that cannot fail proves nothing. Each patch breaks one rule of the protocol; the storm must
be green for the product as it is, and red for every mutant, with the same seed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGES = ("service", "workers", "client")
STORM = Path("tests", "chaos", "run_storm.py")
NONE = "as it is"

GREEN, RED = 0, 1
"""Exit codes of a storm: all rules held; one was broken. Any other means that it told nothing."""


def patches() -> list[Path]:
    """Return the mistakes."""
    return sorted(HERE.glob("*.patch"))


def copy_of_the_product(folder: Path) -> Path:
    """Copy what a storm needs."""
    copy = folder / "product"
    for name in (*PACKAGES, "tests"):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    return copy


def apply(patch: Path, copy: Path) -> None:
    """Make the mistake.

    Raises:
        CalledProcessError: the patch does not fit the product any more.
    """
    subprocess.run(["git", "apply", "--whitespace=nowarn", str(patch)], cwd=copy, check=True)


def storm(copy: Path, *, seconds: int, seed: int) -> subprocess.CompletedProcess[str]:
    """Let a storm pass over a copy."""
    paths = os.pathsep.join(str(copy / name) for name in PACKAGES)
    command = [sys.executable, str(copy / STORM), "--seconds", str(seconds), "--seed", str(seed)]
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )


def judge(patch: Path | None, *, seconds: int, seed: int) -> bool:
    """Say how a storm ended, and whether it ended as it must."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="program-executor-mutant-") as folder:
        copy = copy_of_the_product(Path(folder))
        if patch is not None:
            apply(patch, copy)
        ran = storm(copy, seconds=seconds, seed=seed)
    wanted = GREEN if patch is None else RED
    colour = {GREEN: "green", RED: "red"}.get(ran.returncode, f"exit code {ran.returncode}")
    name = patch.stem if patch else NONE
    is_right = ran.returncode == wanted
    verdict = "right" if is_right else "WRONG"
    print(f"{name:24} {colour:8} {verdict:8} {time.monotonic() - began:5.0f} s", flush=True)
    told = [line for line in ran.stdout.splitlines() if line.startswith("  ")]
    for line in told[:3] if is_right else [*ran.stdout.splitlines(), *ran.stderr.splitlines()]:
        print(f"    {line}", flush=True)
    return is_right


def main() -> int:
    """Run them all; return 1 when one of them ended as it must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", action="append", help="names of patches")
    given = parser.parse_args()
    chosen = [patch for patch in patches() if given.only is None or patch.stem in given.only]
    print(f"seed {given.seed}, {given.seconds} s each")
    verdicts = [
        judge(patch, seconds=given.seconds, seed=given.seed)
        for patch in ([None, *chosen] if given.only is None else chosen)
    ]
    print(f"{verdicts.count(True)} of {len(verdicts)} as they must be")
    return int(not all(verdicts))


if __name__ == "__main__":
    sys.exit(main())
