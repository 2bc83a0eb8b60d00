"""One build of a delta for a zygote, as `services.delta_worker` has it made: argv is the order, in JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile

import smidgen_server.services.delta_smidgen
import smidgen_server.services.delta_tardiff  # noqa: F401 - what builds import when they run
from smidgen_server import delta_process


def run(argv: list[str]) -> int:
    (order,) = argv
    os.environ["TMPDIR"] = json.loads(order)["settings"]["data"]
    tempfile.tempdir = None  # it is asked for again
    reader, writer = os.pipe()  # open to the end: a build goes when nobody waits for it
    os.write(writer, order.encode() + b"\n")
    os.dup2(reader, 0)
    sys.stdin = os.fdopen(0)
    delta_process.main()
    return 0
