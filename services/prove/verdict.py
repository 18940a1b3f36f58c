"""What a sender's journal promises, held against the table."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from services.platform.postgres.connections import Connector
from services.platform.settings import DatabaseSettings
from services.sender.journal import Range, in_doubt, promised

__all__ = ["Verdict", "judge", "missing"]

# A made reading's value is the number of its row. Neighbours whose distance to their rank is the same are a range. They
# are sorted only: to hash what nodes of Citus send, whose number the planner does not know, takes minutes.
_STORED = """
select min(row)::bigint as first, max(row)::bigint + 1 as behind
from (select row, row - row_number() over (order by row) as run
      from (select value::bigint as row, lag(value::bigint) over (order by value) as before
            from sensor_data where sensor_id like 'sensor-%') as rows
      where row is distinct from before) as runs
group by run order by 1
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run came to.

    Attributes:
        sent: rows that were sent, each counted once.
        unanswered: rows of attempts without an answer, each time.
        promised: rows that were acknowledged.
        stored: rows of the table.
        refused: batches whose key the ledger knew, each time.
        lost: rows that were promised and are not there.
        doubled: rows that are there beyond the first of each.
    """

    sent: int
    unanswered: int
    promised: int
    stored: int
    refused: int
    lost: int
    doubled: int

    @property
    def clean(self) -> bool:
        """Whether something was promised, and nothing lost or doubled."""
        return self.promised > 0 and self.lost == 0 == self.doubled

    def figures(self) -> list[tuple[str, str]]:
        """Return what to show, a label and a figure each."""
        labels = {"unanswered": "sent without an answer", "promised": "acknowledged", "refused": "duplicates refused"}
        figures = [(labels.get(name, name), f"{getattr(self, name):,}") for name in self.__slots__]
        return [*figures, ("verdict", "kept" if self.clean else "BROKEN")]


async def judge(journal: Path, database: DatabaseSettings) -> Verdict:
    """Hold a journal of `millrace send` against a table that held nothing before."""
    lines = (await asyncio.to_thread(journal.read_bytes)).splitlines()
    (sent, kept), unanswered = promised(lines), in_doubt(lines)
    asking = await Connector(database.reader_url, database, default_transaction_read_only="on").connect()
    try:
        async with asking.asking():
            stored = [(row["first"], row["behind"]) for row in await asking.fetch(_STORED)]
            rows = await asking.fetchval("select count(*) from sensor_data where sensor_id like 'sensor-%'")
            refused = await asking.fetchval("select coalesce(sum(repeats), 0) from ingest_ledger")
    finally:
        await asking.close()
    distinct = sum(behind - first for first, behind in stored)
    acknowledged = sum(behind - first for first, behind in kept)
    return Verdict(sent, unanswered, acknowledged, rows, int(refused), missing(kept, stored), rows - distinct)


def missing(wanted: list[Range], there: list[Range]) -> int:
    """Count the rows of `wanted` that are not in `there`; both are in order, and none overlaps another of its list."""
    covered = at = 0
    for first, behind in wanted:
        while at < len(there) and there[at][1] <= first:
            at += 1
        look = at
        while look < len(there) and there[look][0] < behind:
            covered += min(behind, there[look][1]) - max(first, there[look][0])
            look += 1
    return sum(behind - first for first, behind in wanted) - covered
