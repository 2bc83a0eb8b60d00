"""Settings of the server: one TOML file, SMIDGEN_ environment variables above it, arguments above both.

Order, strongest first: arguments of the command; `SMIDGEN_<NAME>` and `SMIDGEN_<SECTION>__<NAME>`; one file per setting
in the secrets directory (SMIDGEN_SECRETS_DIR, or systemd's CREDENTIALS_DIRECTORY; file `auth__secret` is auth.secret);
the TOML file (SMIDGEN_CONFIG, or smidgen.toml in the data directory). Nothing else of the server reads the
environment. An unknown name is refused everywhere: a misspelt limit must not silently be no limit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from smidgen_deltas.errors import UsageError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
_PORT = r"(6553[0-5]|655[0-2]\d|65[0-4]\d\d|6[0-4]\d{3}|[1-5]\d{4}|\d{1,4})"
LISTEN = rf"^(\[[0-9a-fA-F:.]+\]|[^:\[\]]*):{_PORT}$"

Action = Literal["pull", "push", "delete", "admin"]
Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Grant(Section):
    """A right: `actions` on repositories matching `repos`, patterns of "kind/name" such as "oci/team/*"."""

    repos: tuple[str, ...] = ("*",)
    actions: tuple[Action, ...] = ("pull",)


class TokenSettings(Grant):
    """A static token, known here by its hash only. `smidgen keys token` makes one."""

    name: str
    sha256: Sha256Hex = Field(description="sha256 of the token, in hex")


class UserSettings(Grant):
    """Rights of one user of the htpasswd file, in place of pull, push and delete everywhere."""

    name: str


class AuthSettings(Section):
    anonymous_push: bool = Field(default=False, description="let anyone push and delete; for closed test networks only")
    default_public: bool = Field(default=True, description="new repositories may be read by anyone")
    htpasswd: Path | None = Field(default=None, description="file of user:hash lines, argon2 or bcrypt")
    users: tuple[UserSettings, ...] = Field(default=(), description="rights of single users of the htpasswd file")
    tokens: tuple[TokenSettings, ...] = ()
    secret: str | None = Field(
        default=None, min_length=32, description="signs registry tokens; made in the data directory"
    )
    token_seconds: int = Field(default=300, ge=60, le=86400, description="how long a registry token is valid")
    service: str = Field(default="smidgen", description="service name in the registry's token challenge")


class LimitSettings(Section):
    """Sizes in bytes, times in seconds."""

    manifest_bytes: int = Field(default=4 * MIB, ge=4 * MIB, le=64 * MIB)
    blob_bytes: int = Field(default=64 * GIB, ge=MIB, description="largest blob that may be pushed")
    metadata_bytes: int = Field(default=128 * MIB, ge=MIB, description="largest ostree metadata object")
    upload_seconds: int = Field(default=24 * 3600, ge=60, description="an upload untouched for so long is dropped")
    page: int = Field(default=1000, ge=1, le=10000, description="most entries of one page of a listing")
    threads: int = Field(default=32, ge=4, le=256, description="requests worked on at once")


class BlobSettings(Section):
    url: str | None = Field(default=None, description="s3://BUCKET/PREFIX, gs://…, az://…; default: blobs/ in data")
    options: dict[str, str] = Field(
        default_factory=dict, description="passed to the object store: endpoint, region, access_key_id, …"
    )
    redirect: bool = Field(default=False, description="send readers to presigned URLs of the bucket")
    redirect_seconds: int = Field(default=900, ge=60, le=7 * 86400)


class SurfaceSettings(Section):
    pack_level: int = Field(default=9, ge=1, le=19, description="zstd level of packs; higher is smaller and slower")
    keep_revisions: int = Field(default=10, ge=0, description="newest revisions per repository that gc keeps")
    grace_seconds: int = Field(default=24 * 3600, ge=0, description="gc spares what is younger")


class DeltaRule(Section):
    """Which deltas the revisions of some refs get. What is not said is as in the section `deltas`."""

    from_last: int | None = Field(default=None, ge=0, le=16)
    from_named: tuple[str, ...] | None = Field(default=None, max_length=16)
    from_nothing: bool | None = None
    on_demand: bool | None = None
    formats: tuple[str, ...] | None = Field(default=None, max_length=8)
    keep_share: float | None = Field(default=None, gt=0, le=1)


class DeltaPolicy(DeltaRule):
    """A rule for the refs that match; of several the one with the longest patterns counts."""

    repos: str = Field(default="*", min_length=1, max_length=300, description='pattern of "kind/name", as "ostree/os"')
    refs: str = Field(default="*", min_length=1, max_length=300, description="pattern of branches or tags")


class DeltaSettings(Section):
    """Deltas are made in the background after a revision was published; a process of its own makes each."""

    from_last: int = Field(
        default=3, ge=0, le=16, description="earlier revisions of a ref to make deltas from; 0: none"
    )
    from_named: tuple[str, ...] = Field(
        default=(), max_length=16, description="revisions to make deltas from: digests, or refs of the same repository"
    )
    from_nothing: bool = Field(default=False, description="make a delta for devices that have nothing")
    on_demand: bool = Field(default=False, description="make a delta when a device asks for one")
    formats: tuple[str, ...] = Field(
        default=("smidgen",),
        max_length=8,
        description='"smidgen", and for stock clients "ostree": static deltas, "tardiff": for flatpak and bootc',
    )
    policies: tuple[DeltaPolicy, ...] = Field(default=(), description="other rules for some repositories and refs")
    effort: Literal["fast", "default", "best"] = Field(default="default", description="time spent for smaller deltas")
    profile: str = Field(
        default="full", max_length=200, description="what devices can do, as for `smidgen delta make --profile`"
    )
    executor: str = Field(
        default="processes",
        pattern=r"^(processes|dask(\+tls)?://[^/]+)$",
        description="where deltas are made: processes of this machine, or the workers of dask://HOST:PORT",
    )
    builds: int = Field(default=1, ge=1, le=256, description="deltas made at once")
    workers: int = Field(default=0, ge=0, le=256, description="threads that make one delta; 0: as many as cores")
    keep_share: float = Field(
        default=0.9, gt=0, le=1, description="a delta is kept when it has at most this share of the full update"
    )
    budget_bytes: int | None = Field(
        default=None, ge=0, description="most bytes of all deltas together; the least useful go first"
    )
    attempts: int = Field(default=3, ge=1, le=100, description="builds that fail or die before a pair is set aside")
    retry_seconds: float = Field(default=30, ge=0, le=86400, description="wait after a failed build; doubles each time")
    lease_seconds: int = Field(default=60, ge=2, le=3600, description="a silent server's builds are taken over then")
    build_seconds: int = Field(default=6 * 3600, ge=1, description="most time of one build")
    memory_bytes: int = Field(default=4 * GIB, ge=64 * MIB, description="most memory of one build")
    demand_queue: int = Field(default=64, ge=1, le=10000, description="deltas that devices may ask for at once")

    quick_profile: str = Field(
        default="full,saves=580K",
        max_length=200,
        description="the same for a second delta, where the first takes much work: for quick links; empty: none",
    )
    light_profile: str = Field(
        default="full,memory=64M",
        max_length=200,
        description="the same for another, where the first takes more memory: for small devices; empty: none",
    )

    @field_validator("profile", "quick_profile", "light_profile")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        from smidgen_deltas.engine.profile import parse_profile

        if not value and info.field_name != "profile":
            return value
        try:
            parse_profile(value)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return value


class CommitImage(Section):
    """A ref of an ostree repository and the tag of an image that are the same commit."""

    repo: str = Field(min_length=1, max_length=255, description="ostree repository")
    ref: str = Field(min_length=1, max_length=255, description="branch")
    image: str = Field(min_length=1, max_length=255, description="repository of the registry")
    tag: str = Field(min_length=1, max_length=128)
    source: Literal["commit", "image"] = Field(default="commit", description="which of them is published by people")
    chunks: int = Field(default=16, ge=0, le=64, description="layers for the largest folders, beside the first one")
    architecture: str = Field(default="amd64", pattern=r"^[a-z0-9]{1,20}$", description="that the image is for")

    @property
    def ends(self) -> tuple[str, str]:
        """The ref and the tag."""
        return f"ostree/{self.repo}/{self.ref}", f"oci/{self.image}:{self.tag}"


class OstreeSettings(Section):
    """How summaries that the server writes are signed. Those of mirrored repositories keep their own signature."""

    gpg_key: str | None = Field(default=None, description="id of the GPG key that signs summaries")
    gpg_home: Path | None = Field(default=None, description="GnuPG's directory with that secret key")
    sign_ed25519: bool = Field(default=True, description="sign summaries with the server's own ed25519 keys")
    mirror_connections: int = Field(default=8, ge=1, le=64, description="objects fetched at once when mirroring")
    images: tuple[CommitImage, ...] = Field(default=(), description="commits that are images, too")

    @field_validator("images")
    @classmethod
    def _one_way(cls, value: tuple[CommitImage, ...]) -> tuple[CommitImage, ...]:
        """What a link makes may not be what another one starts from: they would go on for ever."""
        made = {one.ends[one.source == "commit"] for one in value}
        if made & {one.ends[one.source == "image"] for one in value}:
            raise ValueError("what one link makes, another one starts from")
        return value


class OciSettings(Section):
    sparse: bool = Field(default=False, description="accept an index although some of its manifests are not here")


class TlsSettings(Section):
    certificate: Path | None = None
    key: Path | None = None


class Settings(Section):
    """Everything that can be set. Build with `smidgen_server.settings_load.load`, or directly in tests."""

    data: Path = Field(description="directory of everything the server keeps")
    listen: str = Field(default="127.0.0.1:8650", pattern=LISTEN, description="HOST:PORT")
    uds: Path | None = Field(default=None, description="listen on this Unix socket instead")
    public_url: str | None = Field(default=None, pattern=r"^https?://[^/]+$", description="as clients see the server")
    trusted_proxies: str = Field(default="", description="addresses whose X-Forwarded- headers are believed, or *")
    shutdown_seconds: int = Field(
        default=30, ge=1, le=3600, description="how long running requests may finish at the end"
    )
    database: str | None = Field(
        default=None, description="sqlite:///FILE or postgresql://…; default: in the data directory"
    )
    pool_size: int = Field(default=10, ge=1, le=200, description="database connections kept open")
    accel_prefix: str | None = Field(
        default=None, pattern=r"^/[A-Za-z0-9_/-]*/$", description="nginx location for blobs/ (X-Accel-Redirect)"
    )
    default_ostree_repo: str | None = Field(default=None, description="the repository also served at /repo")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics: bool = Field(default=True, description="serve /metrics")
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    blobs: BlobSettings = BlobSettings()
    surface: SurfaceSettings = SurfaceSettings()
    deltas: DeltaSettings = DeltaSettings()
    ostree: OstreeSettings = OstreeSettings()
    oci: OciSettings = OciSettings()
    tls: TlsSettings = TlsSettings()

    @field_validator("data")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data / 'index.sqlite'}"

    @property
    def blob_dir(self) -> Path:
        return self.data / "blobs"

    @property
    def upload_dir(self) -> Path:
        return self.data / "uploads"

    @property
    def key_dir(self) -> Path:
        return self.data / "keys"
