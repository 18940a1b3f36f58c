"""What goes with its resource and what stays, on real databases."""

import uuid

from services.database.schema.scripts import SQL, migrations
from services.database.schema.status import schema_status
from services.operator.reconcile.dropping import drop_gone, remember
from tests.support import TestDatabase
from tests.support.late import connected

RELEASED = migrations(SQL / "migrations")

SCHEMA = str(uuid.uuid4())
THERE = "select to_regclass($1) is not null"


def owned(kind: str, name: str) -> tuple[str, str, str]:
    return kind, name, str(uuid.uuid4())


async def test_an_object_goes_with_its_resource_and_no_other_does(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        await owner.execute("create table gone (a int); create table kept (a int); create table claimed (a int)")
        gone, kept, claimed = owned("Hypertable", "gone"), owned("Hypertable", "kept"), owned("Hypertable", "claimed")
        await remember(owner, SCHEMA, [gone, claimed], [kept])
        assert await drop_gone(owner, SCHEMA, [gone, kept, claimed]) == []
        # Another resource describes it by now.
        heir = owned("Hypertable", "claimed")
        assert await drop_gone(owner, SCHEMA, [heir]) == []
        assert [await owner.fetchval(THERE, name) for name in ("gone", "kept", "claimed")] == [False, True, True]


async def test_who_changes_his_mind_keeps_the_object(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        await owner.execute("create table mine (a int)")
        mine = owned("Hypertable", "mine")
        await remember(owner, SCHEMA, [mine], [])
        await remember(owner, SCHEMA, [], [mine])
        assert await drop_gone(owner, SCHEMA, []) == []
        assert await owner.fetchval(THERE, "mine")


async def test_another_schema_remembers_for_itself(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        await owner.execute("create table mine (a int)")
        await remember(owner, SCHEMA, [owned("Hypertable", "mine")], [])
        assert await drop_gone(owner, str(uuid.uuid4()), []) == []
        assert await owner.fetchval(THERE, "mine")


async def test_what_cannot_be_dropped_is_told_and_tried_again(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        await owner.execute("create table under (a int); create view above as select * from under")
        await remember(owner, SCHEMA, [owned("Hypertable", "under")], [])
        [problem] = await drop_gone(owner, SCHEMA, [])
        assert "under" in str(problem)
        await owner.execute("drop view above")
        assert await drop_gone(owner, SCHEMA, []) == []
        assert not await owner.fetchval(THERE, "under")


async def test_a_schema_tells_its_version_and_what_waits(database: TestDatabase, empty_database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        status = await schema_status(owner)
        assert (status.version, status.pending) == (RELEASED[-1].version, ())
    async with connected(empty_database, "owner") as owner:
        status = await schema_status(owner)
        assert (status.version, status.pending) == (0, ("0001 init", *map(str, RELEASED)))
