"""Settings: one frozen object. `packshot.settings.loading` reads it from the environment."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from packshot.settings.machine import memory_bytes, render_memory_bytes
from packshot.settings.types import (
    PREFIX,
    Amount,
    Bucket,
    Cdn,
    Count,
    DatabaseUrl,
    Days,
    Delivery,
    Domain,
    Duration,
    Endpoint,
    Endpoints,
    Folder,
    Group,
    HostNames,
    Hosts,
    Id,
    InternalPath,
    Key,
    Level,
    LiveOriginals,
    LiveOriginalsScope,
    LivePrefix,
    LiveSecret,
    Name,
    Networks,
    OptionalCount,
    Origins,
    PublicUrl,
    PurgeBy,
    RedisUrl,
    Region,
    Seconds,
    Side,
    Switch,
    Text,
    Token,
    UploadBy,
    Users,
)


class Settings(BaseSettings):
    """The settings of an installation.

    The constructor uses only its arguments and the defaults; `load_settings` reads the environment. The descriptions
    are the text of `docs/configuration.md`.

    Raises:
        pydantic.ValidationError: a value given directly is not valid.
    """

    # A ValidationError must not carry a token into a log.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    data: Folder = Field(
        default=Path("./packshot-data"),
        description="Folder for the SQLite database, originals and variants. Created if missing.",
    )
    database_url: DatabaseUrl = Field(
        default=None,
        repr=False,
        description="Database: `postgresql+psycopg://…` or `sqlite:///…`. Not set: the file `packshot.db` in the "
        "data folder.",
    )
    redis_url: RedisUrl = Field(
        default=None,
        description="Queue: `redis://…` of a Redis or Valkey server. Not set: jobs run inside `packshot serve`.",
    )
    s3_bucket_originals: Bucket = Field(
        default=None, description="Bucket for originals and uploads. Not set: the data folder."
    )
    s3_bucket_variants: Bucket = Field(
        default=None,
        description="Bucket for variants, under `i/`. It may be the bucket of the originals. Set both or none.",
    )
    s3_endpoint_url: Endpoint = Field(default=None, description="Address of an S3-compatible store. Not set: AWS.")
    s3_public_endpoint_url: Endpoint = Field(
        default=None,
        description="Address of the store for clients, which upload to it and download from it. Not set: "
        "`PACKSHOT_S3_ENDPOINT_URL`.",
    )
    s3_region: Region = Field(
        default=None, description="Region of the buckets. Credentials come from the usual AWS chain."
    )
    upload_method: UploadBy = Field(
        default="presigned_post",
        description="How clients upload to the bucket. `presigned_post`: by a form, unless the client chooses "
        "another method. `presigned_put`: as a raw body instead of a form, for stores without form "
        "uploads such as Cloudflare R2. `one_time_token`: always to the application. `packshot "
        "doctor` tests it.",
    )
    delivery: Delivery = Field(
        default="stream",
        description="How the application sends a variant. `stream`: the bytes. `redirect`: stable URLs answer 302 "
        "to the immutable URL. `accel`: an `X-Accel-Redirect` header tells the nginx in front to send "
        "the bytes.",
    )
    accel_prefix: InternalPath = Field(
        default="/_variants/",
        description="With `accel`: the internal nginx location of the variants. It starts and ends with `/`.",
    )
    variants_group: Group = Field(
        default=None,
        description="Group that may read the variants in the data folder, for example the group of an nginx that "
        "sends them. Not set: only the user who runs Packshot.",
    )
    render_queue_seconds: Duration = Field(
        default=4.0,
        description="Maximum seconds that an on-demand request waits for a render process. It limits the expected "
        "wait on arrival and the actual wait. Beyond it the answer is 503 with `Retry-After`.",
    )
    hot_bytes: Amount = Field(
        default=64 * 1024**2,
        description="Maximum bytes of frequently requested variants in the memory of one process, each kept for "
        "10 seconds. 0: none. The default is 64 MiB.",
    )
    cdn: Cdn = Field(
        default="none",
        description="CDN in front of Packshot that is purged after changes: `cloudfront`, `fastly`, `varnish` or "
        "`none`.",
    )
    cloudfront_distribution: Id = Field(
        default=None,
        description="With `cloudfront`: the id of the distribution. Credentials come from the usual AWS chain.",
    )
    cloudfront_purge_by: PurgeBy = Field(
        default="tags",
        description="With `cloudfront`: `tags` if its `CacheTagConfig` names `x-amz-meta-tags`, otherwise `paths`.",
    )
    fastly_service: Id = Field(default=None, description="With `fastly`: the id of the service.")
    fastly_token: Token = Field(default=None, description="With `fastly`: an API token with the scope `purge_select`.")
    varnish_urls: Endpoints = Field(
        default=None,
        description="With `varnish`: the URL of each Varnish server that accepts purges, separated by commas.",
    )
    public_url: PublicUrl = Field(
        default=None,
        description="Base of every URL that GraphQL returns. It may contain `{tenant}`. Not set: the origin of "
        "the request.",
    )
    live_prefix: LivePrefix = Field(
        default="/live",
        description="Path prefix of live resize. `off`: no prefix.",
    )
    live_host: Domain = Field(
        default=None,
        description="Host whose root is live resize, so that old clients change only the host name.",
    )
    live_originals: LiveOriginals = Field(
        default="stripped",
        description="What `/<id>.<ext>` of live resize returns. `stripped`: the original without EXIF, XMP, IPTC "
        "and comments. `verbatim`: the uploaded bytes, including camera and place. `off`: 404.",
    )
    live_originals_scope: LiveOriginalsScope = Field(
        default="live",
        description="Which originals `/<id>.<ext>` returns. `live`: originals that were uploaded through live "
        "resize or imported from such a service. `all`: the uncropped originals of every pack with an "
        "external id.",
    )
    live_token_secret: LiveSecret = Field(
        default=None,
        description="Value of `secret` in the body of `POST /token` of live resize. It is accepted from any "
        "address over HTTPS. Use the `secret` of the old service's configuration.",
    )
    redirect_max_age: Amount = Field(
        default=60,
        description="Seconds that clients may cache a redirect of live resize: to a stored variant (with "
        "`PACKSHOT_PUBLIC_URL` set), or from an oversized box to the maximum size.",
    )
    allow_indexing: Switch = Field(
        default=False,
        description="Whether `robots.txt` lets search engines index live resize: `on` or `off`.",
    )
    tenant: Name = Field(default="default", description="Tenant of requests that name none.")
    admin_token: Token = Field(
        default=None,
        description="Bearer token with every scope: at least 24 characters that cannot be guessed. Not set: "
        "generated once and kept in the file `admin-token` in the data folder.",
    )
    access_secret: Token = Field(
        default=None,
        description="Encrypts access keys and webhook secrets in the database: at least 24 characters that cannot "
        "be guessed. Not set: the admin token is used. Before you change the admin token, set this to "
        "the old one.",
    )
    tenant_domain: Domain = Field(
        default=None,
        description="Parent domain of the tenants: the host `<tenant>.<domain>` names the tenant. Not set: hosts "
        "name no tenant.",
    )
    jwt_secret: Key = Field(
        default=None,
        description="Shared secret of JWTs that are signed by HS256. Set at most one of this and "
        "`PACKSHOT_JWKS_URL`. Not set: such JWTs are refused.",
    )
    jwks_url: Endpoint = Field(
        default=None,
        description="Key set of JWTs that are signed by RS256, ES256 or EdDSA. It is fetched every five minutes. "
        "While its server is away, the last keys are used for up to a day.",
    )
    jwt_issuer: Text = Field(default=None, description="Required `iss` of a JWT. Not set: any.")
    jwt_audience: Text = Field(
        default=None, description="Value that the `aud` of a JWT must contain. Not set: the JWT must have no `aud`."
    )
    basic_users: Users = Field(
        default=None,
        description="Users of HTTP Basic, as `packshot basic-user NAME` prints them, separated by blanks.",
    )
    trusted_proxies: Networks = Field(
        default=None,
        description="Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted: addresses or networks.",
    )
    trusted_ips: Networks = Field(
        default="127.0.0.0/8, ::1",
        description="Clients that may use the admin APIs without HTTPS: addresses or networks.",
    )
    max_connections: OptionalCount = Field(
        default=None,
        description="Maximum open connections of one `packshot serve` process. Further connections are answered "
        "503. Not set: half of its file limit (`ulimit -n`) less 256, at most 4096.",
    )
    max_connections_per_address: OptionalCount = Field(
        default=None,
        description="Maximum connections from one IPv4 address or one /64 network of IPv6. Addresses in "
        "`PACKSHOT_TRUSTED_PROXIES` have no such limit. Not set: half of `PACKSHOT_MAX_CONNECTIONS`, "
        "at most 512.",
    )
    cors_origins: Origins = Field(
        default=None,
        description="Origins whose pages may use the admin APIs (WebSockets included) and upload originals: "
        "`https://cms.example.com`, separated by commas, or `*` for all. Not set: pages of other "
        "origins cannot use the admin APIs, but pages of any origin may upload with a one-time token. "
        "Pages of every origin may read variants.",
    )
    trusted_hosts: HostNames = Field(
        default=None,
        description="Additional host names under which clients in `PACKSHOT_TRUSTED_IPS` may request live-resize "
        "tokens without credentials, separated by commas. Loopback names, the host of the public URL, "
        "the live host and hosts of the tenant domain are always known.",
    )
    fetch_allow: Hosts = Field(
        default=None,
        description="Hosts, addresses or networks that are not public, but from which originals may be fetched "
        "and to which webhooks may be sent.",
    )
    max_pixels: Count = Field(default=80_000_000, description="Maximum pixels of an original: width times height.")
    max_upload_bytes: Count = Field(
        default=64 * 1024**2, description="Maximum bytes of an original. The default is 64 MiB."
    )
    max_frames_pixels: Count = Field(
        default=100_000_000, description="Maximum pixels of an animated original, all frames together."
    )
    max_width: Side = Field(default=4096, description="Maximum width of a variant in pixels, at most 65535.")
    max_height: Side = Field(default=4096, description="Maximum height of a variant in pixels, at most 65535.")
    render_timeout_seconds: Seconds = Field(
        default=20.0,
        description="Seconds after which a render is stopped and refused. An animation has this time for every 20 "
        "megapixels of all its frames. 0: no limit.",
    )
    render_memory_bytes: OptionalCount = Field(
        default=None,
        description="Maximum bytes of memory of one render process. Not set: three quarters of the memory of the "
        "machine or its control group, divided by the number of render processes, from 512 MiB to 4 "
        "GiB.",
    )
    render_processes: OptionalCount = Field(
        default=None,
        description="Number of render processes. Urgent renders of one tenant use at most all but one of them. "
        "Not set: one more than there are cores, so that an edit does not wait for bulk work.",
    )
    demand_threshold: Amount = Field(
        default=100,
        description="On-demand requests of one form at a location after which a regeneration also renders it "
        "ahead of time. 0: never.",
    )
    unplanned_bytes: Amount = Field(
        default=10 * 1024**3,
        description="Maximum bytes of unplanned variants for each tenant without a budget of its own. 0: none are "
        "stored. The default is 10 GiB.",
    )
    grace_days: Days = Field(
        default=30.0,
        description="Days that superseded variants and those of deleted packs stay in the store. Within that time "
        "a change of a location can be reverted without rendering.",
    )
    introspection: Switch = Field(
        default=True,
        description="Whether GraphQL answers introspection and suggests names in errors: `on` or `off`. GraphiQL "
        "and code generators need it.",
    )
    query_cost_limit: Count = Field(
        default=50_000, description="Maximum cost of one GraphQL operation, as `extensions.cost` counts it."
    )
    query_budget: Count = Field(
        default=1_000_000, description="Maximum cost that one user of one tenant can spend at once, in the same unit."
    )
    query_budget_per_second: Count = Field(
        default=20_000, description="Cost that is added to the budget every second, in each process."
    )
    subscriptions_per_user: Count = Field(
        default=200,
        description="Maximum simultaneous GraphQL subscriptions of one user of one tenant, in each process.",
    )
    log_level: Level = Field(
        default="info", description="Lowest level that is logged: `debug`, `info`, `warning` or `error`."
    )

    @property
    def effective_database_url(self) -> str:
        """The database's URL, or that of the default database."""
        return self.database_url or f"sqlite:///{self.data.absolute() / 'packshot.db'}"

    @property
    def sqlite_file(self) -> Path | None:
        """The file of the database; None: it is not SQLite."""
        kind, _, path = self.effective_database_url.partition(":///")
        return Path(path.partition("?")[0]) if kind == "sqlite" else None

    @property
    def effective_render_processes(self) -> int:
        """The number of render processes, or its default."""
        return self.render_processes or (os.cpu_count() or 1) + 1

    @property
    def effective_render_memory_bytes(self) -> int:
        """The memory limit of one render process in bytes, or its default."""
        return self.render_memory_bytes or render_memory_bytes(memory_bytes(), self.effective_render_processes)

    @property
    def user_agent(self) -> str:
        """The `User-Agent` of requests to other hosts. Some hosts refuse one without an address."""
        return f"Packshot (+{self.public_url.replace('{tenant}', self.tenant)})" if self.public_url else "Packshot"

    @property
    def live(self) -> bool:
        """Whether live resize is enabled."""
        return self.live_prefix is not None or self.live_host is not None

    @property
    def grace(self) -> timedelta:
        """How long superseded variants and unused originals are kept."""
        return timedelta(days=self.grace_days)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences about parts that limit a queue to one machine, although `redis_url` would allow several."""
        if self.redis_url is None:
            return ()
        single_machine_parts = {
            "PACKSHOT_DATABASE_URL": ("the database is SQLite", self.effective_database_url.startswith("sqlite")),
            "PACKSHOT_S3_BUCKET_ORIGINALS": ("images are kept in a folder", self.s3_bucket_originals is None),
        }
        return tuple(
            f"{fact}: every process must run on this machine; set {name} to use more"
            for name, (fact, applies) in single_machine_parts.items()
            if applies
        )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Otherwise settings that code creates, as in tests, would depend on the environment.
        return (init_settings,)
