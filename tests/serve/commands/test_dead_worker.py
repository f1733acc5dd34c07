"""All workers die during a job, and every view of the job says so."""

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from packshot.catalog.work.jobs import NO_WORKER
from packshot.settings.settings import Settings
from serve.cli import app
from serve.commands.doctor import examine
from serve.health.findings import Status
from tests.support.admin import wait_for
from tests.support.pictures import jpeg, photo
from tests.support.server import serving


def _show(data: Path, job_id: str) -> str:
    environ = {"PACKSHOT_DATA": str(data), "PACKSHOT_LOG_LEVEL": "warning"}
    result = CliRunner().invoke(app, ["jobs", "show", job_id], env=environ)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_job_and_the_doctor_report_a_killed_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path) as server:
        renditions = ", ".join(f"{{width: {1500 + n}, height: {1200 + n}}}" for n in range(16))
        server.do(
            "putLocation", f'input: {{name: "huge", width: 1600, renditions: [{renditions}]}}', "location { name }"
        )
        _, job_id = server.pack_showing(jpeg(photo(2400, 1800)))
        wait_for(lambda: any(tmp_path.glob("variants/default/*/*/*/*")))
        assert server.client.get("/readyz").json()["dependencies"]["workers"]["status"] == "ok"
        assert NO_WORKER not in _show(tmp_path, job_id)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
    monkeypatch.setattr("packshot.catalog.work.worker_state.SILENCE", timedelta(0))
    monkeypatch.setattr("packshot.catalog.work.jobs.QUIET", timedelta(0))
    wait_for(lambda: NO_WORKER in _show(tmp_path, job_id))
    assert "stalled" in _show(tmp_path, job_id).splitlines()[0]
    workers = next(finding for finding in examine(Settings(data=tmp_path)) if finding.part == "workers")
    assert workers.status is not Status.OK
    assert "no live worker" in str(workers.problems[0])
