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
    """What an operator can choose.

    Made directly it takes what it is given and the defaults; only `load_settings`
    looks at the environment. The descriptions are the text of `docs/configuration.md`.

    Raises:
        pydantic.ValidationError: a value given directly does not fit.
    """

    # A ValidationError must not carry a token into a log.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    data: Folder = Field(
        default=Path("./packshot-data"),
        description="Folder for the SQLite database, originals and variants; made when missing.",
    )
    database_url: DatabaseUrl = Field(
        default=None,
        repr=False,
        description="Database: `postgresql+psycopg://…` or `sqlite:///…`."
        " Not set: the file `packshot.db` in the data folder.",
    )
    redis_url: RedisUrl = Field(
        default=None,
        description="Queue: `redis://…` of a Redis or Valkey server. Not set: jobs run inside `packshot serve`.",
    )
    s3_bucket_originals: Bucket = Field(
        default=None, description="Bucket for originals and uploads. Not set: the data folder."
    )
    s3_bucket_variants: Bucket = Field(
        default=None, description="Bucket for variants, under `i/`; may be the same. Set both or none."
    )
    s3_endpoint_url: Endpoint = Field(default=None, description="Address of an S3-compatible store. Not set: AWS.")
    s3_public_endpoint_url: Endpoint = Field(
        default=None,
        description="Address by which clients reach the store, for uploads to it and downloads from it."
        " Not set: `PACKSHOT_S3_ENDPOINT_URL`.",
    )
    s3_region: Region = Field(
        default=None, description="Region of the buckets. Credentials come from the usual AWS chain."
    )
    upload_method: UploadBy = Field(
        default="presigned_post",
        description="How clients send uploads to the bucket: `presigned_post`, a form, unless they ask for another "
        "method; `presigned_put`, the raw body where they ask for a form, as for stores that take none, such as "
        "Cloudflare R2; `one_time_token`, always to the application. `packshot doctor` tries it out.",
    )
    delivery: Delivery = Field(
        default="stream",
        description="How the application answers a picture: `stream`, the bytes; `redirect`, stable URLs with a 302 to "
        "the immutable one; `accel`, with `X-Accel-Redirect`, so that the nginx in front sends the bytes.",
    )
    accel_prefix: InternalPath = Field(
        default="/_variants/",
        description="With `accel`: the internal location of nginx under which the variants lie, `/` at both ends.",
    )
    variants_group: Group = Field(
        default=None,
        description="Group that may read the variants in the data folder, such as that of an nginx that sends them."
        " Not set: only the user who runs Packshot may.",
    )
    render_queue_seconds: Duration = Field(
        default=4.0,
        description="Longest wait of a picture rendered on demand for a render process, in seconds: the wait that is "
        "expected when the request arrives, and the actual one. Beyond it clients get 503 with `Retry-After`.",
    )
    hot_bytes: Amount = Field(
        default=64 * 1024**2,
        description="Most bytes of frequently requested pictures that a process keeps in memory, each for 10 seconds;"
        " 0: none. The default is 64 MiB.",
    )
    cdn: Cdn = Field(
        default="none",
        description="What caches pictures in front of Packshot and is purged:"
        " `cloudfront`, `fastly`, `varnish`, or `none`.",
    )
    cloudfront_distribution: Id = Field(
        default=None,
        description="With `cloudfront`: the distribution's id. Credentials come from the usual AWS chain.",
    )
    cloudfront_purge_by: PurgeBy = Field(
        default="tags",
        description="With `cloudfront`: `tags`, where its `CacheTagConfig` names `x-amz-meta-tags`, or `paths`.",
    )
    fastly_service: Id = Field(default=None, description="With `fastly`: the service's id.")
    fastly_token: Token = Field(
        default=None, description="With `fastly`: a token of its API with the scope `purge_select`."
    )
    varnish_urls: Endpoints = Field(
        default=None,
        description="With `varnish`: where every one of them takes purges, with commas between them.",
    )
    public_url: PublicUrl = Field(
        default=None,
        description="Beginning of every URL that GraphQL returns; may contain `{tenant}`."
        " Not set: the origin of the request.",
    )
    live_prefix: LivePrefix = Field(
        default="/live",
        description="Path under which live resize answers; `off`: under none.",
    )
    live_host: Domain = Field(
        default=None,
        description="Host at whose root live resize answers, so that its old clients change nothing but the host name.",
    )
    live_originals: LiveOriginals = Field(
        default="stripped",
        description="What `/<id>.<ext>` of live resize gives: `stripped`, the original without EXIF, XMP, IPTC and"
        " comments; `verbatim`, the bytes as they were uploaded, with places and cameras; `off`, 404.",
    )
    live_originals_scope: LiveOriginalsScope = Field(
        default="live",
        description="Which originals it gives: `live`, those that were uploaded through live resize or imported from"
        " such a service; `all`, those of every pack with an external id, uncropped.",
    )
    live_token_secret: LiveSecret = Field(
        default=None,
        description="Value of `secret` in the body of a request for a token of live resize, accepted from any address"
        " over HTTPS: the `secret` of the old service's configuration.",
    )
    redirect_max_age: Amount = Field(
        default=60,
        description="Seconds for which a redirect of live resize may be kept: with `PACKSHOT_PUBLIC_URL` set, that to a"
        " picture which is stored already, and that from beyond the greatest size to within.",
    )
    allow_indexing: Switch = Field(
        default=False,
        description="Whether search engines may index what live resize gives, as `robots.txt` says: `on` or `off`.",
    )
    tenant: Name = Field(default="default", description="Tenant of requests that name none.")
    admin_token: Token = Field(
        default=None,
        description="Bearer token with every scope: at least 24 characters that cannot be guessed."
        " Not set: made once and kept in the file `admin-token` in the data folder.",
    )
    access_secret: Token = Field(
        default=None,
        description="Encrypts access keys and webhook secrets in the database: at least 24 characters that cannot be"
        " guessed. Not set: the admin token is used; before you change that, set this to the old one.",
    )
    tenant_domain: Domain = Field(
        default=None,
        description="The host `<tenant>.<domain>` names the tenant. Not set: hosts name none.",
    )
    jwt_secret: Key = Field(
        default=None, description="Bearer tokens are JWTs signed with this by HS256. Not set: see the next."
    )
    jwks_url: Endpoint = Field(
        default=None,
        description="Bearer tokens are JWTs signed by a key of this set, by RS256, ES256 or EdDSA. Set at most one."
        " Fetched every five minutes; the last keys are used for up to a day while the server is away.",
    )
    jwt_issuer: Text = Field(default=None, description="What a JWT's `iss` must be. Not set: anything.")
    jwt_audience: Text = Field(default=None, description="What a JWT's `aud` must hold. Not set: it must have none.")
    basic_users: Users = Field(
        default=None,
        description="Who may use HTTP Basic, as `packshot basic-user NAME` prints them, with blanks between them.",
    )
    trusted_proxies: Networks = Field(
        default=None,
        description="Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed: addresses or networks.",
    )
    trusted_ips: Networks = Field(
        default="127.0.0.0/8, ::1",
        description="Clients that may speak to the admin side without HTTPS: addresses or networks.",
    )
    max_connections: OptionalCount = Field(
        default=None,
        description="Most connections that a process of `packshot serve` has open at once; more are answered 503."
        " Not set: half of the files that it may open (`ulimit -n`) less 256, and at most 4096.",
    )
    max_connections_per_address: OptionalCount = Field(
        default=None,
        description="Most connections from one IPv4 address or one /64 network of IPv6;"
        " addresses in `PACKSHOT_TRUSTED_PROXIES` have no such limit. Not set: half of the above, and at most 512.",
    )
    cors_origins: Origins = Field(
        default=None,
        description="Origins whose pages may use the admin APIs, WebSockets included, and upload pictures:"
        " `https://cms.example.com`, with commas between them, or `*` for all. Not set: pages of other origins cannot"
        " use the admin APIs, and pages of any origin may upload with a one-time token. Everybody may read pictures.",
    )
    trusted_hosts: HostNames = Field(
        default=None,
        description="Further host names by which clients in `PACKSHOT_TRUSTED_IPS` reach this installation, as"
        " `/live/token` needs no credentials from them: names, with commas between them. Loopback names and addresses,"
        " the public URL's host, the live host and hosts of the tenants' domain are known already.",
    )
    fetch_allow: Hosts = Field(
        default=None,
        description="Hosts, addresses or networks that originals are fetched from and webhooks sent to, although"
        " they are not public.",
    )
    max_pixels: Count = Field(default=80_000_000, description="Most pixels of an original: width times height.")
    max_upload_bytes: Count = Field(
        default=64 * 1024**2, description="Most bytes of an original. The default is 64 MiB."
    )
    max_frames_pixels: Count = Field(
        default=100_000_000, description="Most pixels of an animated original, all its frames together."
    )
    max_width: Side = Field(default=4096, description="Greatest width of a variant in pixels, at most 65535.")
    max_height: Side = Field(default=4096, description="Greatest height of a variant in pixels, at most 65535.")
    render_timeout_seconds: Seconds = Field(
        default=20.0,
        description="Seconds after which a render is stopped and refused,"
        " of an animation for every 20 megapixels in all its frames. 0: never.",
    )
    render_memory_bytes: OptionalCount = Field(
        default=None,
        description="Most bytes of memory of one render process. Not set: three quarters of the memory of the machine, "
        "or of its control group, divided by the number of render processes, from 512 MiB to 4 GiB.",
    )
    render_processes: OptionalCount = Field(
        default=None,
        description="Number of render processes. One tenant's urgent renders have all but one of them."
        " Not set: one more than there are cores, so that an edit need not wait for bulk work.",
    )
    demand_threshold: Amount = Field(
        default=100,
        description="Requests of one kind at a location after which a regeneration renders it ahead of time too."
        " 0: never.",
    )
    unplanned_bytes: Amount = Field(
        default=10 * 1024**3,
        description="Most bytes of variants that clients asked for besides the planned ones, of each tenant that sets"
        " no budget of its own. 0: none is kept. The default is 10 GiB.",
    )
    grace_days: Days = Field(
        default=30.0,
        description="Days that replaced pictures and those of deleted packs stay in the store."
        " Within that time a location's change can be undone without rendering.",
    )
    introspection: Switch = Field(
        default=True,
        description="Whether GraphQL answers introspection and suggests names in errors: `on` or `off`."
        " GraphiQL and code generators need it.",
    )
    query_cost_limit: Count = Field(
        default=50_000, description="Most that one GraphQL operation may cost, as `extensions.cost` counts it."
    )
    query_budget: Count = Field(
        default=1_000_000, description="Greatest cost that one user of one tenant can spend at once, in the same unit."
    )
    query_budget_per_second: Count = Field(
        default=20_000, description="Cost that is added to that budget every second, in each process."
    )
    subscriptions_per_user: Count = Field(
        default=200,
        description="Most GraphQL subscriptions that one user of one tenant has at a time, in each process.",
    )
    log_level: Level = Field(
        default="info", description="Lowest level that is logged: `debug`, `info`, `warning` or `error`."
    )

    @property
    def effective_database_url(self) -> str:
        """The database's URL, spelled out where the setting leaves it open."""
        return self.database_url or f"sqlite:///{self.data.absolute() / 'packshot.db'}"

    @property
    def sqlite_file(self) -> Path | None:
        """The file of the database; None: it is not SQLite."""
        kind, _, path = self.effective_database_url.partition(":///")
        return Path(path.partition("?")[0]) if kind == "sqlite" else None

    @property
    def effective_render_processes(self) -> int:
        """How many render processes there are, where the setting leaves it open too."""
        return self.render_processes or (os.cpu_count() or 1) + 1

    @property
    def effective_render_memory_bytes(self) -> int:
        """The memory limit of one render process, where the setting leaves it open too."""
        return self.render_memory_bytes or render_memory_bytes(memory_bytes(), self.effective_render_processes)

    @property
    def user_agent(self) -> str:
        """How requests to other hosts name the client; some hosts refuse one that names no address."""
        return f"Packshot (+{self.public_url.replace('{tenant}', self.tenant)})" if self.public_url else "Packshot"

    @property
    def live(self) -> bool:
        """Whether there is live resize."""
        return self.live_prefix is not None or self.live_host is not None

    @property
    def grace(self) -> timedelta:
        """How long what is superseded stays."""
        return timedelta(days=self.grace_days)

    @property
    def caveats(self) -> tuple[str, ...]:
        """What works on one machine only, although a queue that others could share is set; a sentence each."""
        if self.redis_url is None:
            return ()
        here = {
            "PACKSHOT_DATABASE_URL": ("the database is SQLite", self.effective_database_url.startswith("sqlite")),
            "PACKSHOT_S3_BUCKET_ORIGINALS": ("pictures are kept in a folder", self.s3_bucket_originals is None),
        }
        return tuple(
            f"{fact}: every process must run on this machine; set {name} to use more"
            for name, (fact, applies) in here.items()
            if applies
        )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Otherwise settings made in code, as in tests, would depend on the environment.
        return (init_settings,)
