"""The data folder is accessible only to its owner, and to a web server's group if one is configured."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from packshot.catalog.clients import webhooks
from packshot.catalog.database.transaction import Catalog
from packshot.catalog.tables.work import webhooks as rows
from packshot.settings.data_folder import FILES, FOLDERS, group_of, list_exposed, make_private
from packshot.settings.loading import BadSettings
from packshot.settings.settings import Settings
from packshot.site import open_site, open_stores
from tests.support.pictures import jpeg, photo
from tests.support.server import packshot, serving


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def left_open(data: Path) -> None:
    """Create a data folder as earlier releases did."""
    for name in ("originals/default", "variants", "incoming"):
        (data / name).mkdir(parents=True)
        (data / name).chmod(0o755)
    for name in ("packshot.db", "packshot.db-wal", "lock", "admin-token"):
        (data / name).touch()
        (data / name).chmod(0o644)
    data.chmod(0o755)


def test_an_open_installation_becomes_private(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    left_open(settings.data)
    assert len(list(list_exposed(settings))) == 8
    assert make_private(settings) == []
    assert list(list_exposed(settings)) == []
    assert mode_of(settings.data) == 0o700
    assert mode_of(settings.data / "packshot.db-wal") == 0o600
    assert mode_of(settings.data / "originals") == 0o700


def test_a_folder_with_foreign_files_keeps_its_rights_with_a_warning(tmp_path: Path) -> None:
    left_open(tmp_path)
    tmp_path.chmod(0o755)
    (tmp_path / "letters").mkdir()
    settings = Settings(data=tmp_path)
    make_private(settings)
    assert mode_of(tmp_path) == 0o755
    assert mode_of(tmp_path / "packshot.db") == 0o600
    assert list(list_exposed(settings)) == [f"{tmp_path} (mode 0755)"]


def test_a_database_elsewhere_is_private_too(tmp_path: Path) -> None:
    database = tmp_path / "elsewhere.db"
    database.touch()
    database.chmod(0o644)
    settings = Settings(data=tmp_path / "data", database_url=f"sqlite:///{database}")
    make_private(settings)
    assert mode_of(database) == 0o600
    postgres = Settings(data=tmp_path / "data", database_url=f"postgresql+psycopg://db/{database}")
    assert postgres.sqlite_file is None


def test_the_group_can_read_variants_only(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", variants_group=str(os.getgid()))
    left_open(settings.data)
    assert make_private(settings) == []
    assert mode_of(settings.data) == 0o710
    assert mode_of(settings.data / "variants") == 0o2750
    assert mode_of(settings.data / "originals") == 0o700
    assert list(list_exposed(settings)) == []


def test_an_unknown_group_is_an_invalid_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="PACKSHOT_VARIANTS_GROUP: expected a group of this machine, got 'nobodies'"):
        group_of(Settings(data=tmp_path, variants_group="nobodies"))
    ran = packshot(tmp_path / "data", "doctor", PACKSHOT_VARIANTS_GROUP="nobodies")
    assert (ran.returncode, "PACKSHOT_VARIANTS_GROUP" in ran.stderr) == (1, True)


def test_doctor_finds_undecryptable_and_plain_secrets(tmp_path: Path) -> None:
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


def test_all_files_of_a_server_are_private_under_any_umask(tmp_path: Path) -> None:
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
            names = {path.name for path in data.iterdir()}
            assert {"packshot.db", "packshot.db-wal", "lock", "marks"} <= names
            assert {name for name in names if not name.startswith("packshot.db")} <= {*FILES, *FOLDERS}
            # A folder that an administrator opened is closed at the next start.
            data.chmod(0o755)
            make_private(Settings(data=data))
            assert mode_of(data) == 0o700
    finally:
        os.umask(before)
    examined = packshot(data, "doctor")
    assert "data folder rights: only its owner may read it" in examined.stdout


def test_every_folder_of_an_installation_is_known(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    with closing(open_site(settings)) as site:
        assert {path.name for path in settings.data.iterdir() if path.is_dir()} <= set(FOLDERS)
        assert set(open_stores(settings)) == set(site.stores)


NOBODY = 65534


def owners(data: Path) -> set[int]:
    return {path.lstat().st_uid for path in (data, *data.rglob("*"))}


@pytest.fixture
def of_nobody() -> Iterator[Path]:
    """A data folder that belongs to a service's user, in a place that this user can reach."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    with tempfile.TemporaryDirectory(prefix="packshot-owner-") as folder:
        Path(folder).chmod(0o755)
        data = Path(folder) / "data"
        data.mkdir(0o700)
        os.chown(data, NOBODY, NOBODY)
        yield data


@pytest.fixture
def can_run(of_nobody: Path) -> None:
    """Skip if Python is in a folder of root that the service's user cannot read."""
    if "who may not read" in packshot(of_nobody, "migrate").stderr:
        pytest.skip("another user cannot run this Python")


@pytest.mark.parametrize("command", [["doctor"], ["demo"], ["regenerate", "--all"]])
def test_a_command_of_root_leaves_no_file_that_the_service_cannot_use(of_nobody: Path, command: list[str]) -> None:
    ran = packshot(of_nobody, *command)
    assert "so this command runs as that user" in ran.stderr or "so root cannot run this command" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert owners(of_nobody) == {NOBODY}


@pytest.mark.usefixtures("can_run")
def test_the_doctor_names_files_of_another_user_and_a_store_of_marks_that_fails(of_nobody: Path) -> None:
    packshot(of_nobody, "tenant", "create", "films")
    assert "ok   data folder owner: all of it belongs to" in packshot(of_nobody, "doctor").stdout
    lock, marks = of_nobody / "originals" / ".locks" / "00", of_nobody / "marks" / "packshot.check"
    lock.unlink(missing_ok=True)
    lock.touch(0o600)
    marks.rmdir()
    marks.mkdir(0o700)
    examined = packshot(of_nobody, "doctor")
    assert examined.returncode == 4
    assert f"chown -R {NOBODY}:{NOBODY} {of_nobody}" in examined.stdout
    assert str(lock) in examined.stdout
    assert "FAIL store of marks: " in examined.stdout
