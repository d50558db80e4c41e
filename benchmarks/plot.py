"""Plot: draw the systems' rates and latencies, with matplotlib in an environment of its own."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
IMAGE = HERE.parent / "docs/images/performance.svg"
SIZE_INCHES = (9, 4)
OURS, OTHERS = "#2456a6", "#b8c4d6"


def draw(file: Path) -> str:
    """Draw the figures of a run, if matplotlib can be had, and say where."""
    from peer_installs import NotInstalled, environment  # noqa: PLC0415 - not where it is drawn

    try:
        python = environment("plot", HERE / "plot.txt")
    except NotInstalled as error:
        return f"no plot: {error}"
    image = file.with_suffix(".svg")
    subprocess.run([str(python), __file__, str(file), str(image)], check=True)
    return f"plot: {image}; the documentation shows it from {IMAGE.relative_to(HERE.parent)}"


def medians(rounds: list[dict[str, dict[str, float]]], figure: str) -> dict[str, float]:
    """Return {system: median}, the smallest first."""
    names = dict.fromkeys(name for each in rounds for name in each)
    values = {
        name: [each[name][figure] for each in rounds if figure in each.get(name, {})]
        for name in names
    }
    found = {name: statistics.median(of) for name, of in values.items() if of}
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def render(rounds: list[dict[str, dict[str, float]]], image: Path) -> None:
    """Write the picture."""
    import matplotlib as mpl  # type: ignore[import-not-found]  # noqa: PLC0415 - its own venv

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "program-executor"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, places = plt.subplots(1, 2, figsize=SIZE_INCHES)
    what = {"drain_per_s": "programs/s, one worker", "p50_ms": "one program, idle: median ms"}
    for axes, (name, title) in zip(places, what.items(), strict=True):
        _bars(axes, medians(rounds, name), title)
    figure.tight_layout()
    figure.savefig(image, metadata={"Date": None})


def _bars(axes: Any, values: dict[str, float], title: str) -> None:
    colours = [OURS if name == "ours" else OTHERS for name in values]
    bars = axes.barh(list(values), list(values.values()), color=colours)
    axes.bar_label(bars, fmt="{:,.4g}", padding=3)
    axes.margins(x=0.2)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    render(json.loads(Path(sys.argv[1]).read_text())["rounds"], Path(sys.argv[2]))
