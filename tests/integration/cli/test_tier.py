"""`millrace tier` on a real database: the age, a pass, what is there, and what is not supported."""

from datetime import UTC, datetime
from pathlib import Path

from tests.support import TestDatabase
from tests.support.late import connected, insert
from tests.support.query import query_settings
from tests.support.stack import said_by
from tests.support.tier import computed, files_in, tiered

OLD = datetime(2025, 10, 2, 12, tzinfo=UTC)


async def test_an_age_is_said_chunks_move_and_the_status_tells(timescaledb: TestDatabase, tmp_path: Path) -> None:
    settings = tiered(query_settings(timescaledb), tmp_path)
    async with connected(timescaledb, "owner") as owner:
        await insert(owner, OLD, OLD)
    await computed(timescaledb)
    assert "0 chunks moved" in said_by("tier move", settings).stdout
    assert said_by("tier after 90d", settings).stdout.splitlines()[-1] == "chunks go to the tier after 90 days"
    moved = said_by("tier move", settings)
    assert "moved 2 readings from 2025-10-02 00:00:00+00:00 to 2025-10-09 00:00:00+00:00" in moved.stdout
    assert "1 chunks moved, 0 stay" in moved.stdout
    assert len(files_in(tmp_path)) == 1
    shown = said_by("tier status", settings).stdout
    assert "chunks go to the tier after 90 days" in shown
    assert "1 files of 1 chunks" in shown
    assert "no more chunks" in said_by("tier after never", settings).stdout
    assert "no chunks go to the tier" in said_by("tier status", settings).stdout


async def test_what_cannot_be_done_is_one_line(database: TestDatabase, tmp_path: Path) -> None:
    settings = query_settings(database)
    nowhere = said_by("tier move", settings)
    assert (nowhere.returncode, "set MILLRACE_TIER_LOCATION" in nowhere.stderr) == (2, True)
    for age, word in (("soon", "interval"), ("5min", "tier_policy_after")):
        refused = said_by(f"tier after {age}", settings)
        assert (refused.returncode, word in refused.stderr) == (2, True)
        assert "Traceback" not in refused.stderr
    if database.mode == "plain":
        plain = said_by("tier move", tiered(settings, tmp_path))
        assert (plain.returncode, "not supported here" in plain.stderr) == (2, True)
