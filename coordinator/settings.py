"""The coordinator's settings: command line, over `PUSHROD_*` variables, over a TOML file."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from coordinator.domain.builds.quotas import Quotas
from coordinator.domain.people.client_address import Network
from coordinator.domain.pushes.repo_url import RemotePolicy
from coordinator.image_settings import ImageSettings, listed
from pipelines_schema.contract import ACCEPT_WITHIN_SECONDS, LEASE_SECONDS, POLL_HOLD_SECONDS
from pipelines_schema.limits import MAX_QUEUE_TIMEOUT_SECONDS

MAX_PORT = 65_535
ORIGIN = r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?"


def default_data() -> Path:
    share = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(share) / "pushrod"


class Settings(ImageSettings):
    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Path = Field(
        default_factory=default_data,
        description="Folder of the database, repositories, logs, artifacts and keys.",
    )
    secret_key_file: Path | None = Field(
        default=None,
        description="File that holds the installation's key, by which secrets are sealed and "
        "coordinators know each other: what `pushrod key create` writes, or a copy of "
        "`secret-key`; none: `secret-key` in `data`, made at the first start.",
    )
    objects: str | None = Field(
        default=None,
        pattern=r"^((s3|gs|az)://[^\s/]+(/\S*)?|[^\s:][^:]*)$",
        description="Where logs, artifacts and LFS objects are: a folder, or s3://BUCKET/PREFIX, "
        "gs://BUCKET/PREFIX, az://CONTAINER/PREFIX; none: `objects` in `data`.",
    )
    objects_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/@]+(/\S*)?$",
        description="URL of an S3-compatible store; none: the cloud's own.",
    )
    objects_region: str | None = Field(default=None, description="Region of the bucket.")
    objects_credentials_file: Path | None = Field(
        default=None,
        description="File of lines KEY=value, as the store's own variables; none: these.",
    )
    objects_signed_seconds: int | None = Field(
        default=None,
        ge=10,
        le=24 * 3600,
        description="Downloads of 1 MiB and more are sent on to the bucket, to an address that is "
        "good for so long; none: they come through the coordinator.",
    )
    database: str | None = Field(
        default=None,
        pattern=r"^postgresql://([^\s:@/?#]+@)?[^\s@/?#]*/[^\s@/?#]+(\?[^\s#@]+)?$",
        description="PostgreSQL that keeps what is not files, as postgresql://USER@HOST/NAME; "
        "none: SQLite's file in `data`.",
    )
    database_password_file: Path | None = Field(
        default=None,
        description="File that holds the password of `database`; none: PGPASSWORD or ~/.pgpass.",
    )
    listen: str = Field(
        default="127.0.0.1:3000",
        pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\s]+):\d{1,5}$",
        description="HOST:PORT to serve on; port 0 takes a free one.",
    )
    peer_listen: str | None = Field(
        default=None,
        pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\s]+):\d{1,5}$",
        description="HOST:PORT where other coordinators over the same `database` and `objects` "
        "reach this one; none: it is the only one.",
    )
    peer_address: str | None = Field(
        default=None,
        pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\s]+):\d{1,5}$",
        description="HOST:PORT that the others are to connect to; none: `peer_listen`.",
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+$",
        description="How people and agents reach this coordinator; default http://LISTEN.",
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="Addresses and networks of reverse proxies whose X-Forwarded-For says who "
        "asks: a list, or separated by commas.",
    )
    allowed_origins: str = Field(
        default="",
        description="Origins whose pages may call the API from a browser, with a token (CORS): "
        "https://HOST[:PORT], separated by commas.",
    )
    login_seconds: int = Field(
        default=12 * 3600,
        ge=1,
        le=30 * 86_400,
        description="Life of the token that a login by password gives.",
    )
    login_key_days: int = Field(
        default=30, ge=1, le=365, description="A key signs logins for so long, then the next one."
    )
    rate_limit: int = Field(
        default=1000, ge=1, description="Requests a minute to /api/v1, for each token."
    )
    auth: Literal["tokens", "none"] = Field(
        default="tokens",
        description="Who may call: those with a token, or, on a loopback address, everybody.",
    )
    lease_seconds: float = Field(
        default=LEASE_SECONDS,
        ge=1,
        le=3600,
        description="A silent agent's step is given to another after so long; so long, too, may "
        "the coordinator be away before scripts end by themselves.",
    )
    accept_seconds: float = Field(
        default=ACCEPT_WITHIN_SECONDS, ge=0.5, le=60, description="Time to accept an offer."
    )
    poll_hold_seconds: float = Field(
        default=POLL_HOLD_SECONDS, ge=1, le=55, description="How long an idle poll is held."
    )
    queue_timeout_seconds: float = Field(
        default=24 * 3600,
        ge=1,
        le=MAX_QUEUE_TIMEOUT_SECONDS,
        description="A step that no agent takes for so long fails; its `queueTimeout` wins.",
    )
    project_max_running_steps: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Most steps of one project that agents run at once; none: no limit.",
    )
    max_push_bytes: int = Field(
        default=500 * 1024 * 1024, ge=1024, description="Most bytes of one git push."
    )
    max_artifact_bytes: int = Field(
        default=2 * 1024**3, ge=1, description="Most bytes of one artifact."
    )
    max_lfs_bytes: int = Field(
        default=2 * 1024**3, ge=1, description="Most bytes of one Git LFS object."
    )
    max_log_bytes: int = Field(
        default=4 * 1024**3, ge=1024, description="Most bytes of one attempt's log."
    )
    project_max_queued_builds: int = Field(
        default=2_000, ge=1, description="Most builds of a project that wait to begin."
    )
    project_max_waiting_steps: int = Field(
        default=10_000, ge=1, description="Most steps of a project that wait to be handed out."
    )
    project_max_stored_bytes: int = Field(
        default=100 * 1024**3,
        ge=1,
        description="Most bytes of a project's artifacts and logs; beyond them it builds nothing.",
    )
    git_processes: int = Field(
        default=8, ge=1, le=256, description="git processes that serve clients at once."
    )
    body_seconds: float = Field(
        default=30.0, gt=0, le=600, description="A JSON body comes within so long, or gets a 408."
    )
    max_waiting_requests: int = Field(
        default=400,
        ge=1,
        le=100_000,
        description="Long polls, followed logs and WebSockets of one account at once; one person "
        "has a quarter of them. More get a 429.",
    )
    idle_seconds: float = Field(
        default=75.0,
        gt=0,
        le=3600,
        description="A connection is closed that brings no whole request for so long.",
    )
    database_wait_seconds: float = Field(
        default=15.0,
        gt=0,
        le=600,
        description="How long a write waits for another process that has locked the database, and "
        "whatever asks for a PostgreSQL that does not answer.",
    )
    allow_http_repositories: bool = Field(
        default=False, description="Fetch projects' repositories by plain http too."
    )
    allow_file_repositories: bool = Field(
        default=False, description="Fetch projects' repositories from this machine's files too."
    )
    allow_private_addresses: bool = Field(
        default=False,
        description="Fetch projects' repositories from loopback and private networks too.",
    )
    ssh_known_hosts: Path | None = Field(
        default=None,
        description="Host keys of the forges reached by ssh; default: the first seen is kept.",
    )
    fetch_seconds: float = Field(
        default=300.0, gt=0, le=3600, description="Longest fetch of a project's repository."
    )
    fetch_stalled_seconds: int = Field(
        default=30, ge=1, le=600, description="A fetch ends that brings nothing for so long."
    )
    max_fetch_bytes: int = Field(
        default=2 * 1024**3, ge=1024, description="Most bytes of one fetch."
    )
    fetch_attempts: int = Field(
        default=6, ge=1, le=100, description="Tries to fetch before a build fails for it."
    )
    fetch_retry_seconds: float = Field(
        default=5.0, gt=0, le=300, description="Before the second try; doubled for each further."
    )

    deploy_target: str = Field(
        default="agents",
        description="Where deployments run: agents labelled deploy=true, or another's entry point.",
    )
    keep_deliveries_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="How long webhooks that came in, and messages that went out, are kept.",
    )
    smtp_server: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9.-]+(:\d{1,5})?$",
        description="HOST[:PORT] that e-mail is sent by; none: no e-mail is sent.",
    )
    smtp_encryption: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="Towards smtp_server; its port is 587, 465 or 25."
    )
    smtp_user: str | None = Field(default=None, description="Who logs in to smtp_server.")
    smtp_password_file: Path | None = Field(
        default=None, description="File that holds smtp_user's password."
    )
    mail_from: str | None = Field(default=None, description="Sender of e-mail.")
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s]+$",
        description="URL of an OpenTelemetry collector that takes traces by OTLP over HTTP, such "
        "as http://127.0.0.1:4318; none: that of OTEL_EXPORTER_OTLP_ENDPOINT, or no traces.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Of this coordinator's own log: lines, or a JSON object each."
    )
    tidy_hour: int = Field(
        default=3,
        ge=0,
        le=23,
        description="Hour (local time) at which repositories are packed, and their garbage goes.",
    )

    @field_validator("trusted_proxies", mode="plain")
    @classmethod
    def _read_networks(cls, given: object) -> tuple[Network, ...]:
        parts = given.split(",") if isinstance(given, str) else given
        if not isinstance(parts, list | tuple):
            raise ValueError("neither a list nor text")
        texts = [str(part).strip() for part in parts]
        return tuple(ip_network(text) for text in texts if text)

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, given: str) -> str:
        for origin in listed(given):
            if not re.fullmatch(ORIGIN, origin):
                raise ValueError(
                    f"{origin!r} is no origin: name each one as browsers do, in lower case and "
                    "without a path, such as https://dashboard.example"
                )
        return given

    @field_validator("database")
    @classmethod
    def _check_no_password(cls, database: str | None) -> str | None:
        if database is not None and "password=" in database:
            raise ValueError("it names a password, which would show in the list of processes")
        return database

    @field_validator("listen", "peer_listen", "peer_address")
    @classmethod
    def _check_port(cls, listen: str | None) -> str | None:
        if listen is not None and int(listen.rpartition(":")[2]) > MAX_PORT:
            raise ValueError(f"a port is at most {MAX_PORT}")
        return listen

    @model_validator(mode="after")
    def _check_peers(self) -> Settings:
        if self.peer_listen is None:
            return self
        if self.database is None or "://" not in (self.objects or ""):
            raise ValueError(
                "peer_listen is for coordinators that share what they keep: give them `database`, "
                "a PostgreSQL, and `objects`, an object store"
            )
        if self.public_url is None:
            raise ValueError(
                "coordinators with peer_listen need `public_url`, the address of all of them"
            )
        anywhere = self.peer_listen.rpartition(":")[0] in ("0.0.0.0", "[::]")  # noqa: S104
        if anywhere and self.peer_address is None:
            raise ValueError(
                f"peer_listen {self.peer_listen} is no address that others can connect to: give "
                "`peer_address`, too"
            )
        return self

    @model_validator(mode="after")
    def _check_auth(self) -> Settings:
        if self.auth == "none" and not _is_loopback(self.host):
            raise ValueError(
                f"auth none gives everybody who reaches {self.listen} every right: "
                "listen on 127.0.0.1, or use tokens"
            )
        if self.auth == "none" and self.public_url and not _is_local_url(self.public_url):
            raise ValueError(
                f"auth none is for this machine alone, and {self.public_url} is reached by others: "
                "leave public_url out, or use tokens"
            )
        return self

    @property
    def objects_location(self) -> str | Path:
        """A URL, or a folder."""
        if self.objects is None:
            return self.data / "objects"
        return self.objects if "://" in self.objects else Path(self.objects).expanduser().absolute()

    @property
    def quotas(self) -> Quotas:
        return Quotas(
            queued_builds=self.project_max_queued_builds,
            waiting_steps=self.project_max_waiting_steps,
            stored_bytes=self.project_max_stored_bytes,
        )

    @property
    def remote_policy(self) -> RemotePolicy:
        return RemotePolicy(
            http=self.allow_http_repositories,
            file=self.allow_file_repositories,
            private_addresses=self.allow_private_addresses,
        )

    @property
    def cors_origins(self) -> frozenset[str]:
        return frozenset(listed(self.allowed_origins))

    @property
    def stores_repositories(self) -> bool:
        """Whether repositories on the disk are only copies of what is stored elsewhere."""
        return self.peer_listen is not None

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])


def _is_local_url(url: str) -> bool:
    return _is_loopback(urlsplit(url).hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
