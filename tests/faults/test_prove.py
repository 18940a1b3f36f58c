"""`millrace prove` from end to end."""

import re
from pathlib import Path

import pytest

from services.platform.settings import LocalSettings, Settings
from tests.support.servers import installations
from tests.support.stack import said_by

pytestmark = pytest.mark.long


def test_the_proof_of_the_client_kills_its_writer_and_finds_every_row(tmp_path: Path, database_mode: str) -> None:
    settings = Settings(pg_bin=installations()[database_mode].bin, local=LocalSettings(data_dir=tmp_path))
    found = said_by("prove-client --minutes 0.4 --seed 7", settings)
    assert found.returncode == 0, found.stdout + found.stderr
    figures = dict(re.findall(r"│ (\w+(?: \w+)?) +│ ([\d,]+) +│", found.stdout))
    assert (figures["lost"], figures["doubled"]) == ("0", "0")
    assert int(figures["acknowledged"].replace(",", "")) > 0
    assert re.search(r"writer +│ killed [1-9]", found.stdout)
    assert "seed 7" in found.stdout


@pytest.mark.parametrize("load", ["", " --door line"])
def test_the_proof_breaks_things_and_finds_every_row(load: str, tmp_path: Path, database_mode: str) -> None:
    settings = Settings(pg_bin=installations()[database_mode].bin, local=LocalSettings(data_dir=tmp_path))
    found = said_by(f"prove --minutes 0.4 --seed 7{load}", settings)
    assert found.returncode == 0, found.stdout + found.stderr
    figures = dict(re.findall(r"│ (\w+(?: \w+)?) +│ ([\d,]+) +│", found.stdout))
    assert (figures["lost"], figures["doubled"]) == ("0", "0")
    assert int(figures["acknowledged"].replace(",", "")) > 0
    assert re.search(r"killed [1-9]", found.stdout)
    assert "seed 7" in found.stdout
