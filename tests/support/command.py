"""The command line over a playground, in this process: fast, and on both databases."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from serve.cli import app
from tests.support.playground import Playground


class Command:
    """Runs commands over a playground's folder and database."""

    def __init__(self, playground: Playground) -> None:
        self._playground = playground
        settings = playground.settings
        self.environ: dict[str, str | None] = {
            "PACKSHOT_DATA": str(settings.data),
            "PACKSHOT_DATABASE_URL": settings.database_url,
            "PACKSHOT_LOG_LEVEL": "warning",
        }

    def run(self, *arguments: str, code: int = 0, input: str | None = None) -> Result:
        """Run one command, which must end with that exit code and without a traceback."""
        result = CliRunner().invoke(app, list(arguments), input=input, env=self.environ)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run one command with `--json` and return the document that it prints."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def work(self) -> None:
        """Run all jobs, without the seconds for which orders wait if no doorbell was rung."""
        for _ in ("due work", "its follow-up work"):
            self._playground.dispatcher.free_leases()
            self._playground.run_jobs()
