"""Medians of what was measured, and the table that shows them."""

import json
import os
import platform
import statistics
import subprocess
from pathlib import Path
from typing import Any

from processes import HERE
from sides import Side
from workloads import Sample, Workload

README = HERE / "README.md"
MARKS = ("<!-- results -->", "<!-- end of results -->")

# What a figure is a multiple of.
LABELS = {
    "tutorial": "tutorial",
    "socketio": "Socket.IO",
    "fan-out-500": "to 500 sockets, not stored",
}

# By workload, then by side.
Samples = dict[str, dict[str, list[Sample]]]
Figures = dict[str, dict[str, dict[str, float]]]


def medians(samples: Samples, workloads: list[Workload]) -> Figures:
    """The median of the figure that counts, and what all repetitions together lost."""
    figures = {workload.name: workload.figure for workload in workloads}
    return {
        name: {
            side: {
                "median": statistics.median(sample[figures[name]] for sample in repeated),
                "expected": sum(sample.get("expected", 0) for sample in repeated),
                "lost": sum(sample["lost"] for sample in repeated),
                "repeated": sum(sample.get("repeated", 0) for sample in repeated),
            }
            for side, repeated in by_side.items()
        }
        for name, by_side in samples.items()
    }


def table(
    figures: Figures, baselines: dict[str, float], workloads: list[Workload], sides: list[Side]
) -> str:
    """The figures in Markdown, with what was wanted of each and what was reached."""
    head = ["", *(side.label for side in sides), "C baseline", "Wanted", "Reached"]
    rows = [head, ["---", *["---:"] * (len(sides) + 1), "---", "---"]]
    for workload in workloads:
        by_side = figures[workload.name]
        rows.append(
            [
                f"{workload.title}, {workload.unit}",
                *(_cell(by_side.get(side.name)) for side in sides),
                f"{baselines[workload.name]:,.0f}" if workload.name in baselines else "",
                *_verdict(workload, figures),
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def describe(python: Path) -> dict[str, str]:
    """What was measured on what."""
    modules = HERE / "socketio" / "node_modules"
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "machine": f"{processor}, {os.cpu_count()} cores, Linux {platform.release()}",
        **json.loads(_output(str(python), "-c", PYTHON_VERSIONS)),
        "Redis": _output("redis-server", "--version").partition("v=")[2].split()[0],
        "Node": _output("node", "--version").lstrip("v"),
        **{
            name: json.loads((modules / name / "package.json").read_text())["version"]
            for name in ("socket.io", "@socket.io/redis-adapter")
        },
    }


PYTHON_VERSIONS = """
import importlib.metadata, json, platform
names = ("Django", "channels", "channels-redis", "daphne", "redis")
print(json.dumps({"Python": platform.python_version(),
                  **{name: importlib.metadata.version(name) for name in names}}))
"""


def write_readme(
    text: str, about: dict[str, str], *, quick: bool, marks: tuple[str, str] = MARKS
) -> None:
    """Put a table between two marks in README.md, with what was measured on what."""
    runs = "Measured once, with `--quick`," if quick else "Measured"
    before, _, rest = README.read_text().partition(marks[0])
    after = rest.partition(marks[1])[2]
    versions = ", ".join(
        f"{name} {version}" for name, version in about.items() if name != "machine"
    )
    README.write_text(
        f"{before}{marks[0]}\n\n{text}\n\n{runs} on: {about['machine']}; {versions}.\n\n"
        f"{marks[1]}{after}"
    )


def shown(value: float) -> str:
    """Three digits that count, or all before the point."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _cell(figure: dict[str, float] | None) -> str:
    if figure is None:
        return ""
    text = shown(figure["median"])
    if figure["lost"]:
        text += f" ({figure['lost'] / figure['expected']:.0%} lost)" if figure["expected"] else " ✗"
    return text


def _verdict(workload: Workload, figures: Figures) -> list[str]:
    wanted, reached = [], []
    own = figures[workload.name].get("rendered")
    sign = "≤" if workload.smaller_is_better else "≥"
    for name, factor in workload.wanted.items():
        label = LABELS[name]
        wanted.append(f"{sign} {factor:g} × {label}")
        other: Any = figures[workload.name].get(name) or figures.get(name, {}).get("rendered")
        if not own or not other or not other["median"]:
            reached.append("")
            continue
        ratio = own["median"] / other["median"]
        good = ratio <= factor if workload.smaller_is_better else ratio >= factor
        reached.append(f"{ratio:.2f} {'✓' if good and not own['lost'] else '✗'}")
    if workload.at_most is not None and own:
        wanted.append(f"≤ {workload.at_most:g}")
        reached.append("✓" if own["median"] <= workload.at_most else "✗")
    return [", ".join(wanted), ", ".join(reached)]


def _output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
