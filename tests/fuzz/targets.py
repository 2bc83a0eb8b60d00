"""All targets, by name."""

from __future__ import annotations

from fuzz import (
    kernel_targets,
    native_targets,
    oci_targets,
    ostree_targets,
    patch_targets,
    static_targets,
    tar_targets,
    unpack_targets,
)
from fuzz.target import TARGETS

__all__ = ["TARGETS"]

MODULES = (
    kernel_targets,
    native_targets,
    oci_targets,
    ostree_targets,
    patch_targets,
    static_targets,
    tar_targets,
    unpack_targets,
)
