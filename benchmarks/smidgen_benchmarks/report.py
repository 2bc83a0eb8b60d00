"""What a run says: a table for the terminal, JSON for programs, one self-contained HTML page for people."""

from __future__ import annotations

import html
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from smidgen_benchmarks.deltas import Row

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.5rem}table{border-collapse:collapse;width:100%}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #dde3ea}
th:first-child,td:first-child{text-align:left}
.ours{font-weight:600}.bad{color:#a4161a}.note{color:#5b6675}svg text{font:13px system-ui,sans-serif;fill:#1c2430}
@media(prefers-color-scheme:dark){body,svg text{color:#e6ebf2;background:#12161c;fill:#e6ebf2}
th,td{border-color:#2b3440}}
"""
_OURS: Final = "#0b7a75"
_OTHERS: Final = "#9aa7b5"


def table(rows: Sequence[Row]) -> str:
    """Plain text, one line per row, grouped by pair."""
    lines = [f"{'pair':28} {'method':22} {'bytes':>13} {'make s':>8} {'MB':>6} {'apply s':>8} {'MB':>6}  result"]
    for row in rows:
        if row.make is None or row.apply is None:
            lines.append(f"{row.pair:28} {row.peer:22} {(row.problem or '')[:80]}")
            continue
        lines.append(
            f"{row.pair:28} {row.peer:22} {row.size:13,} {row.make.seconds:8.1f} {row.make.peak_bytes >> 20:6} "
            f"{row.apply.seconds:8.1f} {row.apply.peak_bytes >> 20:6}  {_verdict(row)}"
        )
    return "\n".join([*lines, *_ratio_lines(rows)])


def ratios(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """For each of our methods: by pair, and in sum, its bytes in those of the smallest other method.

    Pairs without a verified result of both count nowhere.
    """
    found: dict[str, dict[str, float]] = {}
    measured = [row for row in rows if row.verified and row.make]
    best = {pair: min(sizes) for pair in {row.pair for row in measured} if (sizes := _others(measured, pair))}
    for method in dict.fromkeys(row.peer for row in measured if _ours(row)):
        ours = {row.pair: row.size for row in measured if row.peer == method and row.pair in best}
        if ours:
            found[method] = {pair: size / best[pair] for pair, size in ours.items()}
            found[method]["in sum"] = sum(ours.values()) / sum(best[pair] for pair in ours)
    return found


def _others(rows: Sequence[Row], pair: str) -> list[int]:
    return [row.size for row in rows if row.pair == pair and not _ours(row) and row.size]


def _ratio_lines(rows: Sequence[Row]) -> list[str]:
    lines = []
    for method, by_pair in ratios(rows).items():
        lines += ["", f"{method}, in parts of the smallest other method:"]
        lines += [f"  {pair:28} {ratio:6.3f}" for pair, ratio in by_pair.items()]
    return lines


def as_json(rows: Sequence[Row], digests: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {"machine": machine(), "inputs": digests, "ratios": ratios(rows), "rows": [row.as_json() for row in rows]}


def machine() -> dict[str, Any]:
    return {"cpu": _cpu(), "cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}


def write(folder: Path, rows: Sequence[Row], digests: Mapping[str, Mapping[str, str]]) -> tuple[Path, Path]:
    """Write deltas.json and deltas.html into `folder`; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / "deltas.json", folder / "deltas.html"
    data.write_text(json.dumps(as_json(rows, digests), indent=1))
    page.write_text(as_html(rows, digests))
    return data, page


def as_html(rows: Sequence[Row], digests: Mapping[str, Mapping[str, str]]) -> str:
    facts = ", ".join(f"{name}: {value}" for name, value in machine().items())
    sections = [_section(name, [row for row in rows if row.pair == name], digests.get(name, {})) for name in digests]
    return page(
        "Delta sizes",
        f"<p class=note>{html.escape(facts)}. Every result was compared with its digest; peak memory is that of the "
        "largest process, never less than that of the harness.</p>" + _ratio_table(rows) + "".join(sections),
    )


def page(title: str, body: str) -> str:
    """A page that needs nothing else. body: HTML."""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>{body}</html>"
    )


def _ratio_table(rows: Sequence[Row]) -> str:
    found = ratios(rows)
    if not found:
        return ""
    heads = "".join(f"<th>{html.escape(method)}" for method in found)
    pairs = list(dict.fromkeys(pair for by_pair in found.values() for pair in by_pair if pair != "in sum"))
    body = "".join(
        f"<tr><td>{html.escape(pair)}"
        + "".join(f"<td>{by_pair[pair]:.3f}" if pair in by_pair else "<td>" for by_pair in found.values())
        + "</tr>"
        for pair in [*pairs, "in sum"]
    )
    return f"<h2>In parts of the smallest other method</h2><table><tr><th>pair{heads}</tr>{body}</table>"


def _section(name: str, rows: Sequence[Row], digests: Mapping[str, str]) -> str:
    measured = sorted((row for row in rows if row.make), key=lambda row: row.size)
    body = "".join(_html_row(row) for row in measured)
    missing = "".join(
        f"<li>{html.escape(row.peer)}: {html.escape((row.problem or '')[:300])}</li>" for row in rows if not row.make
    )
    inputs = ", ".join(f"{side} {digest[:16]}…" for side, digest in digests.items())
    return (
        f"<h2>{html.escape(name)}</h2><p class=note>sha256: {inputs}</p>{_bars(measured)}"
        "<table><tr><th>method<th>bytes<th>make s<th>make MB<th>apply s<th>apply MB<th>result</tr>"
        f"{body}</table>" + (f"<ul class=note>{missing}</ul>" if missing else "")
    )


def _html_row(row: Row) -> str:
    if row.make is None or row.apply is None:
        return ""
    kind = "ours" if _ours(row) else ""
    verdict = _verdict(row)
    return (
        f"<tr class='{kind}'><td>{html.escape(row.peer)}<td>{row.size:,}<td>{row.make.seconds:.1f}"
        f"<td>{row.make.peak_bytes >> 20}<td>{row.apply.seconds:.1f}<td>{row.apply.peak_bytes >> 20}"
        f"<td class='{'' if row.verified else 'bad'}'>{verdict}</tr>"
    )


def _bars(rows: Sequence[Row]) -> str:
    """Sizes as horizontal bars, smallest first."""
    if not rows:
        return ""
    widest = max(row.size for row in rows) or 1
    bars = []
    for number, row in enumerate(rows):
        top = 24 * number
        length = max(1, round(560 * row.size / widest))
        colour = _OURS if _ours(row) else _OTHERS
        bars.append(
            f"<text x=170 y={top + 15} text-anchor=end>{html.escape(row.peer)}</text>"
            f"<rect x=180 y={top + 3} width={length} height=16 fill='{colour}'/>"
            f"<text x={188 + length} y={top + 15}>{row.size / 1e6:,.2f} MB</text>"
        )
    return f"<svg viewBox='0 0 860 {24 * len(rows)}' width='100%' role=img>{''.join(bars)}</svg>"


def _ours(row: Row) -> bool:
    return row.peer.startswith("smidgen")


def _verdict(row: Row) -> str:
    return "verified" if row.verified else "WRONG BYTES"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
