"""All settings are valid, or the program refuses to start; docs/configuration.md agrees with the code."""

import multiprocessing
import os
import pickle
import re
import stat
from itertools import product
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import make_url

from packshot.settings.admin_token import admin_token
from packshot.settings.loading import BadSettings, load_settings
from packshot.settings.settings import Settings
from tests.support.paths import ROOT

ADMIN_TOKEN = "an-admin-token-0123456789"
ACCESS_SECRET = "an-access-secret-0123456789"
JWT_SECRET = "a-secret-of-32-bytes-or-more-0123456789"
PAGE = ROOT / "docs" / "configuration.md"
ROW = re.compile(r"\| `(?P<variable>PACKSHOT_[A-Z0-9_]+)` \| (?P<default>[^|]+) \| (?P<meaning>[^|]+) \|")

_spawn = multiprocessing.get_context("spawn")


def page_rows() -> dict[str, tuple[str, str]]:
    rows = [ROW.fullmatch(line) for line in PAGE.read_text(encoding="utf-8").splitlines()]
    return {row["variable"]: (row["default"], row["meaning"]) for row in rows if row}


def faults_of(**environ: str) -> tuple[str, ...]:
    with pytest.raises(BadSettings) as refused:
        load_settings(environ)
    assert str(refused.value) == "\n".join(refused.value.faults)
    return refused.value.faults


def test_the_page_and_the_object_name_the_same_settings_with_the_same_meaning() -> None:
    assert {variable: meaning for variable, (_, meaning) in page_rows().items()} == {
        f"PACKSHOT_{name.upper()}": field.description for name, field in Settings.model_fields.items()
    }


def test_the_defaults_on_the_page_are_the_objects_own() -> None:
    written = {variable: default.strip("`") for variable, (default, _) in page_rows().items() if default != "not set"}
    assert load_settings(written) == Settings()
    unset = {variable for variable, (default, _) in page_rows().items() if default == "not set"}
    assert unset == {
        f"PACKSHOT_{name.upper()}" for name, field in Settings.model_fields.items() if field.default is None
    }


def test_the_errors_on_the_page_are_the_real_ones() -> None:
    faults = faults_of(PACKSHOT_LOG_LEVEL="loud", PACKSHOT_MAX_WITDH="100")
    assert "\n".join(faults) in PAGE.read_text(encoding="utf-8")


def test_requests_to_other_hosts_name_the_installations_own_address() -> None:
    assert Settings().user_agent == "Packshot"
    assert Settings(public_url="https://{tenant}.images.example").user_agent == (
        "Packshot (+https://default.images.example)"
    )


def test_nothing_has_to_be_set() -> None:
    settings = load_settings({"HOME": "/root"})
    assert settings == Settings()
    assert settings.data == Path("packshot-data")
    assert settings.max_pixels == 80_000_000
    assert settings.max_upload_bytes == 67_108_864
    assert settings.render_timeout_seconds == 20
    assert settings.render_memory_bytes is None
    assert 2**29 <= settings.effective_render_memory_bytes <= 2**32
    assert settings.admin_token is None


def test_every_setting_can_be_set() -> None:
    environ = {
        "PACKSHOT_DATA": "/srv/packshot",
        "PACKSHOT_DATABASE_URL": "postgresql+psycopg://me:pw@db/packshot",
        "PACKSHOT_REDIS_URL": "redis://:pw@queue:6379/3",
        "PACKSHOT_S3_BUCKET_ORIGINALS": "my-originals",
        "PACKSHOT_S3_BUCKET_VARIANTS": "my.variants",
        "PACKSHOT_S3_ENDPOINT_URL": "http://s3.local:8333/",
        "PACKSHOT_S3_PUBLIC_ENDPOINT_URL": "http://s3.local:8333/",
        "PACKSHOT_S3_REGION": "eu-north-1",
        "PACKSHOT_CDN": "Varnish",
        "PACKSHOT_CLOUDFRONT_DISTRIBUTION": "",
        "PACKSHOT_CLOUDFRONT_PURGE_BY": "",
        "PACKSHOT_FASTLY_SERVICE": "",
        "PACKSHOT_FASTLY_TOKEN": "",
        "PACKSHOT_VARNISH_URLS": "http://10.0.0.5:6081, http://10.0.0.6:6081",
        "PACKSHOT_DELIVERY": "Accel",
        "PACKSHOT_VARIANTS_GROUP": "www-data",
        "PACKSHOT_ACCEL_PREFIX": "/inside/",
        "PACKSHOT_RENDER_QUEUE_SECONDS": "2.5",
        "PACKSHOT_HOT_BYTES": "0",
        "PACKSHOT_PUBLIC_URL": "https://{tenant}.images.example/base//",
        "PACKSHOT_LIVE_PREFIX": "off",
        "PACKSHOT_UPLOAD_METHOD": "Presigned_Put",
        "PACKSHOT_LIVE_HOST": "live.example",
        "PACKSHOT_LIVE_ORIGINALS": "Verbatim",
        "PACKSHOT_LIVE_ORIGINALS_SCOPE": "all",
        "PACKSHOT_LIVE_TOKEN_SECRET": "1234hvhv1234hvp",
        "PACKSHOT_REDIRECT_MAX_AGE": "0",
        "PACKSHOT_ALLOW_INDEXING": "on",
        "PACKSHOT_TENANT": "films-2",
        "PACKSHOT_ADMIN_TOKEN": ADMIN_TOKEN,
        "PACKSHOT_ACCESS_SECRET": ACCESS_SECRET,
        "PACKSHOT_TENANT_DOMAIN": "images.example",
        "PACKSHOT_JWT_SECRET": JWT_SECRET,
        "PACKSHOT_JWKS_URL": "",
        "PACKSHOT_JWT_ISSUER": "https://login.example",
        "PACKSHOT_JWT_AUDIENCE": "packshot",
        "PACKSHOT_BASIC_USERS": "ann:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA",
        "PACKSHOT_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1",
        "PACKSHOT_TRUSTED_IPS": "::1",
        "PACKSHOT_CORS_ORIGINS": "https://cms.example, http://[::1]:3000, *",
        "PACKSHOT_TRUSTED_HOSTS": "packshot.internal, media",
        "PACKSHOT_MAX_CONNECTIONS": "1000",
        "PACKSHOT_MAX_CONNECTIONS_PER_ADDRESS": "10",
        "PACKSHOT_FETCH_ALLOW": "media.internal, 10.1.0.0/16",
        "PACKSHOT_MAX_PIXELS": "1",
        "PACKSHOT_MAX_UPLOAD_BYTES": "2",
        "PACKSHOT_MAX_FRAMES_PIXELS": "3",
        "PACKSHOT_MAX_WIDTH": "65535",
        "PACKSHOT_MAX_HEIGHT": "4",
        "PACKSHOT_RENDER_TIMEOUT_SECONDS": "0",
        "PACKSHOT_RENDER_MEMORY_BYTES": "5",
        "PACKSHOT_RENDER_PROCESSES": "6",
        "PACKSHOT_DEMAND_THRESHOLD": "0",
        "PACKSHOT_UNPLANNED_BYTES": "0",
        "PACKSHOT_GRACE_DAYS": "0.5",
        "PACKSHOT_INTROSPECTION": "off",
        "PACKSHOT_QUERY_COST_LIMIT": "1000",
        "PACKSHOT_QUERY_BUDGET": "20000",
        "PACKSHOT_QUERY_BUDGET_PER_SECOND": "300",
        "PACKSHOT_SUBSCRIPTIONS_PER_USER": "7",
        "PACKSHOT_LOG_LEVEL": "DEBUG",
    }
    assert environ.keys() == page_rows().keys()
    assert load_settings(environ) == Settings(
        data=Path("/srv/packshot"),
        database_url="postgresql+psycopg://me:pw@db/packshot",
        redis_url=SecretStr("redis://:pw@queue:6379/3"),
        s3_bucket_originals="my-originals",
        s3_bucket_variants="my.variants",
        s3_endpoint_url="http://s3.local:8333",
        s3_public_endpoint_url="http://s3.local:8333",
        s3_region="eu-north-1",
        cdn="varnish",
        varnish_urls="http://10.0.0.5:6081, http://10.0.0.6:6081",
        delivery="accel",
        variants_group="www-data",
        accel_prefix="/inside/",
        render_queue_seconds=2.5,
        hot_bytes=0,
        public_url="https://{tenant}.images.example/base",
        upload_method="presigned_put",
        live_prefix=None,
        live_host="live.example",
        live_originals="verbatim",
        live_originals_scope="all",
        live_token_secret=SecretStr("1234hvhv1234hvp"),
        redirect_max_age=0,
        allow_indexing=True,
        tenant="films-2",
        admin_token=SecretStr(ADMIN_TOKEN),
        tenant_domain="images.example",
        jwt_secret=SecretStr(JWT_SECRET),
        access_secret=SecretStr(ACCESS_SECRET),
        jwt_issuer="https://login.example",
        jwt_audience="packshot",
        basic_users=SecretStr("ann:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"),
        trusted_proxies="10.0.0.0/8, 192.0.2.1",
        trusted_ips="::1",
        cors_origins="https://cms.example, http://[::1]:3000, *",
        trusted_hosts="packshot.internal, media",
        max_connections=1000,
        max_connections_per_address=10,
        fetch_allow="media.internal, 10.1.0.0/16",
        max_pixels=1,
        max_upload_bytes=2,
        max_frames_pixels=3,
        max_width=65535,
        max_height=4,
        render_timeout_seconds=0,
        render_memory_bytes=5,
        render_processes=6,
        demand_threshold=0,
        unplanned_bytes=0,
        grace_days=0.5,
        introspection=False,
        query_cost_limit=1000,
        query_budget=20_000,
        query_budget_per_second=300,
        subscriptions_per_user=7,
        log_level="debug",
    )


def test_the_process_environment_is_read_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("PACKSHOT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PACKSHOT_TENANT", "mine")
    assert load_settings().tenant == "mine"
    assert load_settings({}).tenant == "default"
    assert Settings().tenant == "default"


def test_an_empty_value_is_no_value() -> None:
    assert load_settings(dict.fromkeys(page_rows(), "")) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATA", "what?"),
        ("DATABASE_URL", "mysql://db/packshot"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "postgresql+psycopg://me@db:xx/packshot"),
        ("REDIS_URL", "queue:6379"),
        ("REDIS_URL", "redis://queue:6379/abc"),
        ("REDIS_URL", "redis://queue:port"),
        ("S3_BUCKET_VARIANTS", "No Bucket"),
        ("S3_ENDPOINT_URL", "s3.local"),
        ("TENANT_DOMAIN", "https://images.example"),
        ("JWT_SECRET", "short"),
        ("JWKS_URL", "login.example/keys"),
        ("BASIC_USERS", "ann:secret"),
        ("BASIC_USERS", "Admin:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"),
        ("TRUSTED_HOSTS", "packshot.internal:8000"),
        ("MAX_CONNECTIONS", "0"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_IPS", "localhost"),
        ("FETCH_ALLOW", "http://media.internal"),
        ("PUBLIC_URL", "images.example"),
        ("PUBLIC_URL", "ftp://images.example"),
        ("PUBLIC_URL", "https://"),
        ("PUBLIC_URL", "https://[images.example"),
        ("PUBLIC_URL", "https://images.example/?a=b"),
        ("LIVE_PREFIX", "live"),
        ("LIVE_PREFIX", "/live/"),
        ("LIVE_PREFIX", "/"),
        ("LIVE_PREFIX", "/{id}"),
        ("LIVE_PREFIX", "/api/live"),
        ("LIVE_HOST", "http://live.example"),
        ("TENANT", "Films"),
        ("TENANT", "-films"),
        ("TENANT", "a" * 64),
        ("ADMIN_TOKEN", "two words"),
        ("ADMIN_TOKEN", "line\n"),
        ("MAX_PIXELS", "0"),
        ("MAX_UPLOAD_BYTES", "64MiB"),
        ("MAX_FRAMES_PIXELS", "-1"),
        ("MAX_WIDTH", "65536"),
        ("MAX_HEIGHT", "1.5"),
        ("RENDER_TIMEOUT_SECONDS", "-1"),
        ("RENDER_TIMEOUT_SECONDS", "nan"),
        ("RENDER_TIMEOUT_SECONDS", "inf"),
        ("RENDER_MEMORY_BYTES", "lots"),
        ("RENDER_PROCESSES", "0"),
        ("CDN", "akamai"),
        ("CLOUDFRONT_DISTRIBUTION", "E123/../.."),
        ("CLOUDFRONT_PURGE_BY", "urls"),
        ("FASTLY_TOKEN", "two words"),
        ("LIVE_TOKEN_SECRET", "elevenchars"),
        ("LOG_LEVEL", "trace"),
    ],
)
def test_an_invalid_value_is_reported_in_one_line(name: str, value: str) -> None:
    (fault,) = faults_of(**{f"PACKSHOT_{name}": value})
    assert re.fullmatch(rf"PACKSHOT_{name}: expected .+, got .+", fault)


def test_all_invalid_settings_are_reported_together() -> None:
    faults = faults_of(PACKSHOT_MAX_WIDTH="wide", PACKSHOT_TENANT="A B", PACKSHOT_DATABSE_URL="x", PACKSHOT_ZZZZZZ="x")
    assert faults == (
        "PACKSHOT_DATABSE_URL: expected the name of a setting, perhaps PACKSHOT_DATABASE_URL, got an unknown one",
        "PACKSHOT_MAX_WIDTH: expected a whole number of pixels from 1 to 65535, got 'wide'",
        "PACKSHOT_TENANT: expected 1 to 63 of a-z, 0-9 and '-', not starting with '-', got 'A B'",
        "PACKSHOT_ZZZZZZ: expected the name of a setting, got an unknown one",
    )


def test_settings_that_need_each_other_are_reported_together() -> None:
    faults = faults_of(PACKSHOT_REDIS_URL="redis://queue", PACKSHOT_S3_BUCKET_VARIANTS="variants")
    assert faults == (
        "PACKSHOT_ADMIN_TOKEN: expected a token, because PACKSHOT_REDIS_URL is set, got nothing",
        "PACKSHOT_S3_BUCKET_ORIGINALS: expected a bucket's name, because the other bucket is set, got nothing",
    )


def test_a_cdn_needs_its_own_settings_and_refuses_those_of_others() -> None:
    assert faults_of(PACKSHOT_CDN="varnish") == (
        "PACKSHOT_VARNISH_URLS: expected a value, because PACKSHOT_CDN is varnish, got nothing",
    )
    assert faults_of(PACKSHOT_VARNISH_URLS="http://10.0.0.5:6081") == (
        "PACKSHOT_VARNISH_URLS: expected nothing, because PACKSHOT_CDN is none, got a value",
    )
    assert faults_of(PACKSHOT_CDN="fastly", PACKSHOT_CLOUDFRONT_PURGE_BY="paths", PACKSHOT_FASTLY_TOKEN="s3cret") == (
        "PACKSHOT_CLOUDFRONT_PURGE_BY: expected nothing, because PACKSHOT_CDN is fastly, got a value",
        "PACKSHOT_FASTLY_SERVICE: expected a value, because PACKSHOT_CDN is fastly, got nothing",
    )
    given = {"PACKSHOT_CDN": "cloudfront", "PACKSHOT_CLOUDFRONT_DISTRIBUTION": "E1A2B3"}
    assert load_settings(given).cloudfront_purge_by == "tags"
    (fault,) = faults_of(PACKSHOT_CDN="varnish", PACKSHOT_VARNISH_URLS="http://10.0.0.5:6081, 10.0.0.6:6081")
    assert fault.startswith("PACKSHOT_VARNISH_URLS: expected URLs, separated by commas")


def test_a_missing_optional_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {
        "PACKSHOT_DATABASE_URL": "postgresql+psycopg://db/packshot",
        "PACKSHOT_REDIS_URL": "redis://queue",
        "PACKSHOT_ADMIN_TOKEN": ADMIN_TOKEN,
        "PACKSHOT_S3_BUCKET_ORIGINALS": "acme-originals",
        "PACKSHOT_S3_BUCKET_VARIANTS": "acme-variants",
        "PACKSHOT_CDN": "cloudfront",
        "PACKSHOT_CLOUDFRONT_DISTRIBUTION": "E1ABCDEF2GHIJ3",
    }
    load_settings(environ)
    # As `importlib` reports a missing package.
    monkeypatch.setattr("packshot.settings.conflicts.find_spec", lambda name: None)
    with pytest.raises(BadSettings) as refused:
        load_settings(environ)
    named = [line.partition(":")[0].removeprefix("PACKSHOT_") for line in refused.value.args]
    assert named == ["CDN", "DATABASE_URL", "REDIS_URL", "S3_BUCKET_ORIGINALS"]
    assert all("expected packshot[scale] to be installed, got no package " in line for line in refused.value.args)
    load_settings({})


def test_a_name_in_another_case_is_unknown() -> None:
    assert faults_of(packshot_data="/srv") == (
        "packshot_data: expected the name of a setting, perhaps PACKSHOT_DATA, got an unknown one",
    )


def test_no_secret_is_ever_shown() -> None:
    bad = {"PACKSHOT_ADMIN_TOKEN": "hush hush", "PACKSHOT_DATABASE_URL": "mysql://me:hush@db", "PACKSHOT_TOKEN": "hush"}
    with pytest.raises(BadSettings) as refused:
        load_settings(bad)
    assert "hush" not in str(refused.value)
    assert refused.value.__context__ is None
    with pytest.raises(ValidationError) as invalid:
        Settings(admin_token=SecretStr("hush hush"), database_url="mysql://me:hush@db")
    assert "hush" not in str(invalid.value)
    good = Settings(admin_token=SecretStr("hush"), database_url="postgresql+psycopg://me:hush@db/packshot")
    assert "hush" not in repr(good)
    for name in ("JWKS_URL", "PUBLIC_URL", "S3_ENDPOINT_URL", "VARNISH_URLS"):
        assert "hush" not in " ".join(faults_of(**{f"PACKSHOT_{name}": "https://me:hush@keys.example/jwks"}))


def test_settings_are_frozen_and_travel_to_other_processes() -> None:
    settings = Settings(tenant="films")
    with pytest.raises(ValidationError):
        settings.tenant = "other"
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301
    assert pickle.loads(pickle.dumps(BadSettings("a", "b"))).faults == ("a", "b")  # noqa: S301


def test_the_database_is_a_file_in_the_data_folder_unless_set(tmp_path: Path) -> None:
    folder = tmp_path / "with space % and #"
    url = make_url(Settings(data=folder).effective_database_url)
    assert url.database == str(folder / "packshot.db")
    assert make_url(Settings(data=Path("rel")).effective_database_url).database == str(Path.cwd() / "rel/packshot.db")
    assert Settings(database_url="sqlite:///x.db").effective_database_url == "sqlite:///x.db"


@pytest.mark.parametrize(("cores", "processes"), [(None, 2), (1, 2), (2, 3), (16, 17)])
def test_there_is_one_render_process_more_than_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, processes: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert Settings().effective_render_processes == processes
    assert Settings(render_processes=1).effective_render_processes == 1


def test_the_admin_token_comes_from_the_setting_if_set(tmp_path: Path) -> None:
    assert admin_token(Settings(data=tmp_path / "data", admin_token=SecretStr("s3cret"))) == "s3cret"
    assert not (tmp_path / "data").exists()


def test_an_admin_token_is_generated_once_and_readable_by_the_owner_only(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "deep" / "data")
    token = admin_token(settings)
    assert len(token) >= 43
    assert admin_token(settings) == token
    assert os.listdir(settings.data) == ["admin-token"]
    assert stat.S_IMODE((settings.data / "admin-token").stat().st_mode) == 0o600


def test_an_admin_token_written_by_hand_is_taken(tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_text(f"  {ADMIN_TOKEN}\r\n")
    assert admin_token(Settings(data=tmp_path)) == ADMIN_TOKEN


def test_a_file_with_a_weak_token_is_refused_without_showing_it(tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_text("letmein")
    with pytest.raises(BadSettings, match="admin-token: expected at least 24 characters") as refused:
        admin_token(Settings(data=tmp_path))
    assert "letmein" not in str(refused.value)


SHORT = ["x", "hunter2", "0123456789abcdef0123456"[:23], "k" * 64, "abcabc" * 10]
TYPED_BY_HAND = [
    "123456789012345678901234",
    "0123456789abcdef0123456789abcdef",
    "changeme-changeme-changeme",
    "CHANGE_THIS_to_something_long_1",
    "passwordpasswordpassword1",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "your-secret-admin-token-here",
    "REPLACE_ME_WITH_A_LONG_TOKEN",
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product(["ADMIN_TOKEN", "ACCESS_SECRET", "JWT_SECRET"], SHORT),
        *product(["ADMIN_TOKEN", "ACCESS_SECRET"], TYPED_BY_HAND),
    ],
)
def test_a_weak_secret_is_refused_with_a_way_to_generate_one(name: str, value: str) -> None:
    (fault,) = faults_of(**{f"PACKSHOT_{name}": value})
    assert fault.startswith(f"PACKSHOT_{name}: expected at least ")
    assert name == "JWT_SECRET" or "secrets.token_urlsafe(32)" in fault
    assert value not in fault.removeprefix(f"PACKSHOT_{name}") or value == "x"


@pytest.mark.parametrize(
    "value", ["app-token-0123456789abcdef0123456789", "t4A6-xCzY1EoyRnaDmPRFWvDZkpImifaRCmECdEhvpU"]
)
def test_any_long_secret_is_accepted(value: str) -> None:
    settings = load_settings({"PACKSHOT_ADMIN_TOKEN": value, "PACKSHOT_ACCESS_SECRET": value})
    assert admin_token(settings) == value


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff\xfe"])
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "admin-token").write_bytes(content)
    with pytest.raises(BadSettings, match="admin-token: expected visible ASCII"):
        admin_token(Settings(data=tmp_path))


def _make_tokens(folder: Path, start: Barrier, tokens: "Queue[list[str]]") -> None:
    start.wait()
    tokens.put([admin_token(Settings(data=folder / str(number))) for number in range(50)])


@pytest.mark.slow
def test_processes_that_start_together_agree_on_one_token(tmp_path: Path) -> None:
    start = _spawn.Barrier(3)
    tokens: Queue[list[str]] = _spawn.Queue()
    racers = [_spawn.Process(target=_make_tokens, args=(tmp_path, start, tokens)) for _ in range(3)]
    for racer in racers:
        racer.start()
    made = [tokens.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    tokens.close()
    tokens.join_thread()
    assert made[0] == made[1] == made[2]
    assert len(set(made[0])) == 50
