"""The data folder is for its owner, and for a web server's group where that is set."""

import os
import stat
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from packshot.catalog import webhooks
from packshot.catalog.tables.work import webhooks as rows
from packshot.catalog.transaction import Catalog
from packshot.data_folder import exposed, group_of, make_private
from packshot.settings import BadSettings, Settings
from tests.pictures import jpeg, photo
from tests.server import packshot, serving


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def left_open(data: Path) -> None:
    """Make a data folder as earlier releases did."""
    for name in ("originals/default", "variants", "incoming"):
        (data / name).mkdir(parents=True)
        (data / name).chmod(0o755)
    for name in ("packshot.db", "packshot.db-wal", "lock", "admin-token"):
        (data / name).touch()
        (data / name).chmod(0o644)
    data.chmod(0o755)


def test_an_installation_that_was_open_is_tightened(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    left_open(settings.data)
    assert len(list(exposed(settings))) == 8
    assert make_private(settings) == []
    assert list(exposed(settings)) == []
    assert mode_of(settings.data) == 0o700
    assert mode_of(settings.data / "packshot.db-wal") == 0o600
    assert mode_of(settings.data / "originals") == 0o700


def test_a_folder_with_other_things_in_it_keeps_its_rights_and_says_so(tmp_path: Path) -> None:
    left_open(tmp_path)
    tmp_path.chmod(0o755)
    (tmp_path / "letters").mkdir()
    settings = Settings(data=tmp_path)
    make_private(settings)
    assert mode_of(tmp_path) == 0o755
    assert mode_of(tmp_path / "packshot.db") == 0o600
    assert list(exposed(settings)) == [f"{tmp_path} (mode 0755)"]


def test_a_database_elsewhere_is_private_too(tmp_path: Path) -> None:
    database = tmp_path / "elsewhere.db"
    database.touch()
    database.chmod(0o644)
    settings = Settings(data=tmp_path / "data", database_url=f"sqlite:///{database}")
    make_private(settings)
    assert mode_of(database) == 0o600
    postgres = Settings(data=tmp_path / "data", database_url=f"postgresql+psycopg://db/{database}")
    assert postgres.sqlite_file is None


def test_a_group_gets_at_the_variants_and_at_nothing_else(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", variants_group=str(os.getgid()))
    left_open(settings.data)
    assert make_private(settings) == []
    assert mode_of(settings.data) == 0o710
    assert mode_of(settings.data / "variants") == 0o2750
    assert mode_of(settings.data / "originals") == 0o700
    assert list(exposed(settings)) == []


def test_a_group_that_there_is_not_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="PACKSHOT_VARIANTS_GROUP: expected a group of this machine, got 'nobodies'"):
        group_of(Settings(data=tmp_path, variants_group="nobodies"))
    ran = packshot(tmp_path / "data", "doctor", PACKSHOT_VARIANTS_GROUP="nobodies")
    assert (ran.returncode, "PACKSHOT_VARIANTS_GROUP" in ran.stderr) == (1, True)


def test_the_doctor_finds_secrets_that_another_key_encrypted_and_plain_ones(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert packshot(data, "access-key", "create", "web").returncode == 0
    assert "ok   secrets: 1 in the database, encrypted" in packshot(data, "doctor").stdout
    with closing(Catalog(Settings(data=data).effective_database_url)) as catalog, catalog.write("default") as tx:
        webhooks.create_webhook(tx, "https://cms.example/hook", [webhooks.Event.PACK_CHANGED], lambda *_: b"x" * 40)
        tx.connection.execute(sa.update(rows).values(secret="whsec_c2VjcmV0"))
    examined = packshot(data, "doctor", PACKSHOT_ACCESS_SECRET="another-access-secret-0123456789")
    assert examined.returncode == 4
    assert "1 access keys and 1 webhook secrets cannot be decrypted" in examined.stdout
    assert "earlier release are in plain text: restart the server" in examined.stdout


def test_whatever_a_server_writes_is_private_under_any_umask(tmp_path: Path) -> None:
    data = tmp_path / "data"
    before = os.umask(0o000)
    try:
        with serving(data, PACKSHOT_ADMIN_TOKEN="") as server:
            server.token = (data / "admin-token").read_text().strip()
            server.put_location("thumb", 32, 18)
            _, job_id = server.pack_showing(jpeg(photo(64, 48)))
            server.wait_for_job(job_id)
            loose = [path for path in (data, *data.rglob("*")) if mode_of(path) & 0o077]
            assert loose == []
            assert {"packshot.db", "packshot.db-wal", "lock"} <= {path.name for path in data.iterdir()}
    finally:
        os.umask(before)
    examined = packshot(data, "doctor")
    assert "data folder rights: only its owner may read it" in examined.stdout
