"""Says at the end of a run at how many moments processes were killed and the power was cut.

Each test that does so has a least number of them; these add up to more than 2,000.
"""

from __future__ import annotations

import pytest

from support.kill_points import POINTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = [
        int(str(value))
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == POINTS and report.when == "call"
    ]
    if counts:
        terminalreporter.write_line(f"{sum(counts)} {POINTS} in {len(counts)} tests")
