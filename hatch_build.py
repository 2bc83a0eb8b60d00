"""Build hook: compile the Cython kernels beside their sources (editable installs) or into the wheel."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
KERNELS = ROOT / "deltas" / "smidgen_deltas" / "kernels"


class KernelBuildHook(BuildHookInterface):  # type: ignore[misc,type-arg]
    """Compile every ``kernels/*.pyx`` to an extension with its full dotted name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's
        sources = sorted(KERNELS.glob("*.pyx"))
        if not sources or self.target_name == "sdist":
            return
        built = _compile(sources)
        build_data["infer_tag"] = True
        build_data["pure_python"] = False
        for path in built:
            inside = path.relative_to(ROOT / "deltas")
            build_data["force_include"][str(path)] = str(inside)


def _compile(sources: list[Path]) -> list[Path]:
    """Compile `sources` in place; return the extension files."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    extensions = [
        Extension(
            f"smidgen_deltas.kernels.{source.stem}",
            [str(source.relative_to(ROOT))],
            extra_compile_args=["-O3", "-fno-strict-aliasing"],
        )
        for source in sources
    ]
    modules = cythonize(
        extensions,
        build_dir=str(ROOT / "build" / "cython"),
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True},
    )
    command = build_ext(Distribution({"name": "smidgen", "ext_modules": modules}))
    command.build_lib = str(ROOT / "deltas")
    command.build_temp = str(ROOT / "build" / "temp")
    command.ensure_finalized()
    command.run()
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return [KERNELS / f"{source.stem}{suffix}" for source in sources]
