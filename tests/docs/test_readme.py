"""The first session in the README works as pasted."""

import re
import subprocess
from pathlib import Path

from PIL import Image

from tests.support.paths import ROOT
from tests.support.pictures import corners, jpeg
from tests.support.server import TOKEN, serving

README = ROOT / "README.md"


def test_the_first_session_of_the_readme_works_as_pasted(tmp_path: Path) -> None:
    session = re.search(
        r"<!-- run by tests/docs/test_readme.py -->\n```sh\n(.*?)```", README.read_text("utf-8"), re.DOTALL
    )
    assert session is not None
    data = tmp_path / "packshot-data"
    (tmp_path / "photo.jpg").write_bytes(jpeg(corners(1600, 1200)))
    with serving(data) as server:
        (data / "admin-token").write_text(TOKEN)
        script = session[1].replace("http://127.0.0.1:8000", server.base)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert '"message"' not in done.stdout
    assert "<picture>" in done.stdout
    with Image.open(tmp_path / "card.jpg") as card, Image.open(tmp_path / "card-cropped.jpg") as cropped:
        assert card.size == cropped.size == (640, 360)
        assert card.tobytes() != cropped.tobytes()
