"""`millrace tier`: from which age on readings go to the cold tier, moving what is due, and what is there."""

from typing import Annotated, Any

import typer

from services.platform.settings import Settings

from .process import fail, printable, service

__all__ = ["app"]

app = typer.Typer(help="The cold tier: old readings as Parquet files.", no_args_is_help=True)

_STATUS = """
select
  (select after::text from tier_policy) as after,
  (select min(range_start) from tier_chunks) as start,
  (select max(range_end) from tier_chunks) as end,
  (select count(*) from tier_chunks) as chunks,
  (select count(*) from tier_files) as files,
  (select coalesce(sum(rows), 0)::bigint from tier_files) as rows,
  (select coalesce(sum(bytes), 0)::bigint from tier_files) as bytes,
  (select count(*) from tier_garbage) as garbage
"""

AFTER = """
update tier_policy set after = nullif($1::text, 'never')::interval returning after::text
"""


@app.command()
def after(age: Annotated[str, typer.Argument(help="Such as 90d or '6 months'; never moves nothing more.")]) -> None:
    """Say from which age on chunks go to the tier; the loop beside repair moves them."""
    with service("tier") as settings:
        found = _asked(settings, AFTER, age)
        typer.echo(f"chunks go to the tier after {found[0]}" if found[0] else "no more chunks go to the tier")


@app.command()
def status() -> None:
    """Show what is in the tier."""
    with service("tier") as settings:
        found = _asked(settings, _STATUS)
        typer.echo(f"chunks go to the tier after {found['after']}" if found["after"] else "no chunks go to the tier")
        if found["chunks"]:
            typer.echo(f"{found['rows']} readings from {found['start']} to {found['end']}")
            typer.echo(f"{found['files']} files of {found['chunks']} chunks, {found['bytes']} bytes")
        typer.echo(f"{found['garbage']} files wait for their removal")


@app.command()
def move() -> None:
    """Take one pass now: retention, deletions, chunks that are due, files that nobody needs."""
    import asyncio

    with service("tier") as settings:
        from services.database.schema.apply import SchemaError, connected
        from services.database.tier.loop import Pass, owner_of, pass_once
        from services.platform.postgres.capability import capability
        from services.platform.postgres.connections import Connector
        from services.platform.postgres.errors import DATABASE_FAILURES, words_of
        from services.platform.tier.storage import open_storage

        if not settings.tier.location:
            raise fail("there is no tier; set MILLRACE_TIER_LOCATION to where its files shall lie")

        async def once() -> Pass | None:
            async with connected(settings.database.owner_url, settings.database) as connection:
                able = await capability(connection)
            if able.edition != "full":
                raise fail(f"not supported here: {able} has no chunks to move")
            way = owner_of(Connector(settings.database.owner_url, settings.database))
            connection = await way.session()
            try:
                storage = open_storage(settings.tier.location)
                return await pass_once(connection, able, storage, settings.tier.grace)
            finally:
                connection.terminate()

        try:
            done = asyncio.run(once())
        except SchemaError as error:
            raise fail(error) from None
        except DATABASE_FAILURES as error:
            raise fail(words_of(error)) from None
        if done is None:
            raise fail("another process is at it")
        for moved in done.moved:
            typer.echo(
                f"moved {moved.rows} readings from {moved.chunk.start} to {moved.chunk.end}: {moved.bytes} bytes"
            )
        for stayed in done.stayed:
            typer.echo(printable(f"stays: {stayed}"))
        if done.problem:
            raise fail(f"the pass is cut short: {done.problem}")
        typer.echo(
            f"{len(done.moved)} chunks moved, {len(done.stayed)} stay; {done.deleted} deleted readings left the files; "
            f"{done.removed} files removed"
        )


def _asked(settings: Settings, statement: str, *arguments: str) -> Any:
    """Return the one row of a statement, by its names and numbers."""
    import asyncio

    from services.database.schema.apply import SchemaError, connected
    from services.platform.postgres.errors import DATABASE_FAILURES, message_of, words_of

    async def asked() -> Any:
        async with connected(settings.database.owner_url, settings.database) as connection:
            return await connection.fetchrow(statement, *arguments)

    try:
        return asyncio.run(asked())
    except SchemaError as error:
        raise fail(error) from None
    except DATABASE_FAILURES as error:
        raise fail(message_of(error) if hasattr(error, "sqlstate") else words_of(error)) from None
