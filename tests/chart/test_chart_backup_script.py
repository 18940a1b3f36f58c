"""What the archive of the bundled server keeps and drops, by the shells that images have."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.chart import CHART
from tests.support.servers import installations

SCRIPT = CHART / "files" / "backup.sh"
SEGMENTS = [f"0000000A0000001A000000{number:02X}" for number in range(0x2D, 0x33)]


@pytest.fixture(params=[["sh"], ["busybox", "sh"]], ids=["sh", "busybox"])
def shell(request: pytest.FixtureRequest) -> list[str]:
    """A shell, of Debian's images and of Alpine's."""
    found: list[str] = request.param
    if not shutil.which(found[0]):
        pytest.skip(f"{found[0]} is not here")
    return found


def made_base(run: Path, name: str, segment: int) -> None:
    """Make a base backup that needs the log from a segment on."""
    (run / "base" / name).mkdir()
    manifest = (
        f'"WAL-Ranges": [\n{{ "Timeline": 10, "Start-LSN": "1A/{segment:X}000028", "End-LSN": "1A/31000120" }}\n],\n'
    )
    (run / "base" / name / "backup_manifest").write_text(manifest)


def made_run(archive: Path, name: str) -> Path:
    """Make a run with segments of the log, the last of them under way."""
    run = archive / name
    (run / "wal").mkdir(parents=True)
    (run / "base").mkdir()
    (run / "server").write_text("7|10\n")
    for segment in SEGMENTS[:-1]:
        (run / "wal" / segment).touch()
    (run / "wal" / f"{SEGMENTS[-1]}.partial").touch()
    return run


def did(shell: list[str], archive: Path, *command: str, keep: int = 2) -> str:
    """Run a command of the script, and return what it wrote."""
    path = f"{next(iter(installations().values())).bin}:{os.environ['PATH']}"
    env = {"PATH": path, "ARCHIVE": str(archive), "KEEP": str(keep), "HOSTNAME": "here"}
    done = subprocess.run([*shell, SCRIPT, *command], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def there(archive: Path) -> set[str]:
    return {str(path.relative_to(archive)) for path in archive.glob("run-*/*/*") if path.name != "backup_manifest"}


def test_the_newest_base_backups_stay_with_the_log_from_the_oldest_of_them_on(shell: list[str], tmp_path: Path) -> None:
    run = made_run(tmp_path, "run-20261128T010000Z")
    for name, segment in (("20261128T010005Z", 0x2D), ("20261128T020000Z", 0x2F), ("20261128T030000Z", 0x31)):
        made_base(run, name, segment)
    (run / "base" / ".other").mkdir()
    did(shell, tmp_path, "prune")
    log = {f"{run.name}/wal/{segment}" for segment in (*SEGMENTS[2:-1], f"{SEGMENTS[-1]}.partial")}
    bases = {f"{run.name}/base/{name}" for name in ("20261128T020000Z", "20261128T030000Z", ".other")}
    assert there(tmp_path) == log | bases
    # What was broken off days ago goes too.
    os.utime(run / "base" / ".other", (0, 0))
    did(shell, tmp_path, "prune")
    assert there(tmp_path) == log | bases - {f"{run.name}/base/.other"}


def test_a_run_goes_with_its_last_base_backup_and_the_newest_stays_even_without_one(
    shell: list[str], tmp_path: Path
) -> None:
    old, middle, new = (made_run(tmp_path, f"run-20261128T0{hour}0000Z") for hour in (1, 2, 3))
    made_base(old, "20261128T010005Z", 0x2D)
    made_base(middle, "20261128T020005Z", 0x30)
    made_base(middle, "20261128T023000Z", 0x31)
    did(shell, tmp_path, "prune")
    assert {path.name for path in tmp_path.iterdir()} == {middle.name, new.name}
    assert len(list((new / "wal").iterdir())) == len(SEGMENTS)
    assert len(list((middle / "wal").iterdir())) == len(SEGMENTS) - 3


def test_a_run_that_was_not_begun_in_full_is_none(shell: list[str], tmp_path: Path) -> None:
    assert did(shell, tmp_path, "run") == ""
    whole = made_run(tmp_path, "run-20261128T010000Z")
    assert did(shell, tmp_path, "run") == f"{whole}\n"
    (made_run(tmp_path, "run-20261128T020000Z") / "server").unlink()
    assert did(shell, tmp_path, "run") == ""


def test_recovery_is_given_a_segment_that_is_still_written_and_no_other_file_in_its_place(
    shell: list[str], tmp_path: Path
) -> None:
    log = made_run(tmp_path, "run-20261128T010000Z") / "wal"
    (log / f"{SEGMENTS[-1]}.partial").write_text("so far")
    did(shell, tmp_path, "fetch", str(log), SEGMENTS[-1], str(tmp_path / "given"))
    assert (tmp_path / "given").read_text() == "so far"
    with pytest.raises(AssertionError):
        did(shell, tmp_path, "fetch", str(log), "0000000B.history", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_a_gap_in_the_log_of_a_base_backup_is_told_from_its_end(shell: list[str], tmp_path: Path) -> None:
    run = made_run(tmp_path, "run-20261128T010000Z")
    (run / "wal" / "0000000A.history").touch()
    base = run / "base" / "20261128T010005Z"
    made_base(run, base.name, 0x2E)
    assert did(shell, tmp_path, "gap", str(base)) == ""
    # What comes before the base backup may be absent.
    (run / "wal" / SEGMENTS[0]).unlink()
    assert did(shell, tmp_path, "gap", str(base)) == ""
    (run / "wal" / SEGMENTS[4]).unlink()
    assert did(shell, tmp_path, "gap", str(base)) == f"{SEGMENTS[3]}\n"
    (run / "wal" / SEGMENTS[1]).unlink()
    assert did(shell, tmp_path, "gap", str(base)) == "-\n"
    for path in (run / "wal").iterdir():
        path.unlink()
    assert did(shell, tmp_path, "gap", str(base)) == "-\n"


def test_the_log_goes_on_from_one_file_number_to_the_next(shell: list[str], tmp_path: Path) -> None:
    run = made_run(tmp_path, "run-20261128T010000Z")
    for segment in (0xFD, 0xFE, 0xFF):
        (run / "wal" / f"0000000A0000001A000000{segment:02X}").touch()
    (run / "wal" / "0000000A0000001B00000000").touch()
    made_base(run, "20261128T010005Z", 0xFD)
    assert did(shell, tmp_path, "gap", str(run / "base" / "20261128T010005Z")) == ""
