"""What a run of `smidgen bench scaling` leaves: JSON for programs, one self-contained page with a plot for people."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from smidgen_benchmarks.report import machine, page
from smidgen_benchmarks.scaling import Row, exponents, table

_WIDTH: Final = 640
_HEIGHT: Final = 320
_SERIES: Final[Mapping[str, tuple[str, Callable[[Row], float]]]] = {
    "make, CPU s": ("#0b7a75", lambda row: row.make.cpu_seconds),
    "apply, CPU s": ("#b5651d", lambda row: row.apply.cpu_seconds),
}


def as_json(rows: Sequence[Row], digests: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {
        "machine": machine(),
        "inputs": digests,
        "exponents": exponents(rows),
        "rows": [asdict(row) for row in rows],
    }


def write(folder: Path, rows: Sequence[Row], digests: Mapping[str, Mapping[str, str]]) -> tuple[Path, Path]:
    """Write scaling.json and scaling.html into `folder`; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, shown = folder / "scaling.json", folder / "scaling.html"
    data.write_text(json.dumps(as_json(rows, digests), indent=1))
    shown.write_text(as_html(rows, digests))
    return data, shown


def as_html(rows: Sequence[Row], digests: Mapping[str, Mapping[str, str]]) -> str:
    facts = ", ".join(f"{name}: {value}" for name, value in machine().items())
    inputs = "".join(
        f"<li>{html.escape(name)}: " + ", ".join(f"{side} {digest[:16]}…" for side, digest in sides.items())
        for name, sides in digests.items()
    )
    plots = "".join(
        f"<h2>{html.escape(effort)}</h2>{_plot([row for row in rows if row.effort == effort and row.what == 'trees'])}"
        for effort in exponents(rows)
    )
    return page(
        "Cost and size of the input",
        f"<p class=note>{html.escape(facts)}. Both axes are logarithmic: along the grey line cost grows as the input "
        f"does.</p>{plots}<h2>All runs</h2><pre>{html.escape(table(rows))}</pre>"
        f"<h2>Inputs, sha256</h2><ul class=note>{inputs}</ul>",
    )


def _plot(rows: Sequence[Row]) -> str:
    """CPU seconds over MB, for making and applying."""
    costs = [of(row) for row in rows for _, of in _SERIES.values()]
    left, right = math.log(min(row.new for row in rows)), math.log(max(row.new for row in rows))
    low, high = math.log(min(costs)), math.log(max(costs))

    def place(size: float, cost: float) -> tuple[float, float]:
        across = (math.log(size) - left) / ((right - left) or 1)
        up = (math.log(cost) - low) / ((high - low) or 1)
        return 60 + across * (_WIDTH - 200), _HEIGHT - 40 - up * (_HEIGHT - 70)

    parts = [_line([place(row.new, rows[0].make.cpu_seconds * row.new / rows[0].new) for row in rows], "#c4ccd6")]
    for number, (name, (colour, of)) in enumerate(_SERIES.items()):
        parts.append(_line([place(row.new, of(row)) for row in rows], colour))
        for row in rows:
            x, y = place(row.new, of(row))
            parts.append(f"<circle cx={x:.0f} cy={y:.0f} r=4 fill='{colour}'/>")
            parts.append(f"<text x={x:.0f} y={y - 8:.0f} text-anchor=middle>{of(row):.1f}</text>")
        parts.append(f"<text x={_WIDTH - 120} y={30 + 20 * number} style='fill:{colour}'>{name}</text>")
    for row in rows:
        parts.append(f"<text x={place(row.new, 1)[0]:.0f} y={_HEIGHT - 8} text-anchor=middle>{row.new // 10**6}</text>")
    parts.append(f"<text x={_WIDTH - 120} y={_HEIGHT - 8}>MB</text>")
    return f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' width='100%' role=img>{''.join(parts)}</svg>"


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    return f"<polyline points='{path}' fill=none stroke='{colour}' stroke-width=2 />"
