"""Run tests on kernels built with the address and undefined behaviour sanitizers: python tests/sanitized.py [TEST...]

The package is copied to build/sanitized and compiled there; the installed one is left alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "build" / "sanitized"
TESTS = ("tests/unit/test_patch_codec.py", "tests/unit/test_patch_relocatable.py", "tests/unit/test_kernel_align.py",
         "tests/property/test_patch_mutation.py", "tests/property/test_fuzz_corpus.py")  # fmt: skip
FLAGS = ("-shared", "-fPIC", "-O1", "-g", "-fno-strict-aliasing", "-fno-omit-frame-pointer",
         "-fsanitize=address,undefined", "-fno-sanitize=alignment")  # fmt: skip
DIRECTIVES = ("boundscheck=False", "wraparound=False", "cdivision=True")


def build(source: Path) -> None:
    """Compile one kernel beside its source."""
    generated = source.with_suffix(".c")
    options = [part for directive in DIRECTIVES for part in ("-X", directive)]
    name = f"smidgen_deltas.kernels.{source.stem}"
    cython = [sys.executable, "-m", "cython", "-3", *options, "--module-name", name, "-o", str(generated), str(source)]
    subprocess.run(cython, check=True, cwd=TARGET)
    library = source.with_name(source.stem + str(sysconfig.get_config_var("EXT_SUFFIX")))
    include = f"-I{sysconfig.get_paths()['include']}"
    subprocess.run(["gcc", *FLAGS, include, str(generated), "-o", str(library)], check=True)


def main() -> int:
    shutil.rmtree(TARGET, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "deltas" / "smidgen_deltas", TARGET / "smidgen_deltas", ignore=ignored)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(build, sorted((TARGET / "smidgen_deltas" / "kernels").glob("*.pyx"))))
    runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    environment = os.environ | {
        "LD_PRELOAD": runtime.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # so that small buffers are watched, too
        "PYTHONPATH": str(TARGET),
    }
    where = subprocess.run(
        [sys.executable, "-c", "import smidgen_deltas; print(smidgen_deltas.__file__)"],
        check=True, capture_output=True, text=True, env=environment, cwd=ROOT,
    )  # fmt: skip
    if str(TARGET) not in where.stdout:
        print(f"would test {where.stdout.strip()}, not the sanitized copy", file=sys.stderr)
        return 1
    tests = sys.argv[1:] or TESTS
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], env=environment, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
