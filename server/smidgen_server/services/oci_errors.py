"""Errors of the registry that no other part raises; codes as in distribution-spec, "Error Codes"."""

from __future__ import annotations

from smidgen_deltas.errors import FormatError, LimitExceeded, NotFound, UsageError


class NameInvalid(UsageError):
    """A repository name breaks the grammar or is too long."""

    code, status = "NAME_INVALID", 400
    hint = "Use lower-case letters, digits, single . _ - (or __ and ---) between them, and / between parts."


class RepoUnknown(NotFound):
    """No such repository."""

    code = "NAME_UNKNOWN"


class TagInvalid(FormatError):
    """A tag breaks the grammar: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}."""

    code, status = "MANIFEST_INVALID", 400


class ManifestUnknown(NotFound):
    """The repository shows no such manifest or tag."""

    code = "MANIFEST_UNKNOWN"


class ManifestRefused(FormatError):
    """A manifest is well-formed but cannot be stored here."""

    code, status = "MANIFEST_INVALID", 400


class ManifestBlobUnknown(NotFound):
    """A manifest refers to blobs or manifests that the repository does not show. Detail names some of them."""

    code = "MANIFEST_BLOB_UNKNOWN"
    hint = "Push or mount the blobs (and the manifests of an index) into this repository first."


class TooManyTags(LimitExceeded):
    """More `tag` parameters than one manifest upload may have."""

    code, status = "UNSUPPORTED", 414


class UploadInvalid(UsageError):
    """A request of an upload session contradicts itself."""

    code, status = "BLOB_UPLOAD_INVALID", 400


class PageInvalid(UsageError):
    """`n` is not a number of entries."""

    code, status = "UNSUPPORTED", 400
