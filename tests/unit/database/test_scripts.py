"""The SQL files' rules."""

from pathlib import Path

import pytest

from services.database.schema.scripts import SQL, SchemaError, included, migrations
from services.platform.postgres.schema import SCHEMA_NEEDED


def test_init_includes_files_that_exist_and_every_file_but_bootstrap_and_citus() -> None:
    parts = list(included(SQL / "init.sql"))
    assert sorted([*parts, *(SQL / name for name in ("init.sql", "bootstrap.sql", "citus.sql"))]) == sorted(
        SQL.glob("*.sql")
    )


def test_the_released_migrations_reach_the_version_that_the_services_need() -> None:
    assert 1 + len(migrations(SQL / "migrations")) >= SCHEMA_NEEDED


def test_a_script_with_anything_but_inclusions_is_refused_with_its_line(tmp_path: Path) -> None:
    script = tmp_path / "init.sql"
    script.write_text("-- fine\n\n\\ir one.sql\nselect 1;\n")
    with pytest.raises(SchemaError, match=r"init\.sql:4"):
        list(included(script))


def test_migrations_are_read_in_order_with_their_words_and_their_way(tmp_path: Path) -> None:
    (tmp_path / "0003_more_speed.sql").write_text("-- no transaction\nvacuum;\n")
    (tmp_path / "0002_new_column.sql").write_text("select 1;\n")
    first, second = migrations(tmp_path)
    assert (str(first), first.transactional) == ("0002 new column", True)
    assert (str(second), second.transactional) == ("0003 more speed", False)
    assert first.sha256 != second.sha256


@pytest.mark.parametrize(
    "names", [("2_short.sql",), ("0003_gap.sql",), ("0001_taken.sql",), ("0002_one.sql", "0002_two.sql")]
)
def test_wrong_names_and_gaps_and_twins_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).write_text("select 1;\n")
    with pytest.raises(SchemaError):
        migrations(tmp_path)
