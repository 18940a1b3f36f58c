"""Bytes on disk: the rows of the whole way once the columnstore policy has run, against their best columnstore."""

from ..bodies import Shape
from ..case import Case, Options
from ..figures import Measures
from ..stack import Bench
from ..way import way_run

__all__ = ["CASES"]

SHAPES = {"1,000 rows a request": Shape(1_000, days_ago=30), "10 rows a request": Shape(10, days_ago=30)}
"""Readings so old that the policy takes their chunk."""

COLUMNSTORE_JOB = """
select job_id from timescaledb_information.jobs
where hypertable_name = 'sensor_data' and proc_name in ('policy_compression', 'policy_columnstore')
"""

POLICY_RUNS = 2
"""The policy's first run takes what stands in the row store into the columnstore, its second one brings into order
what was compressed on COPY."""


async def measure(bench: Bench, options: Options) -> Measures:
    """Store rows by the whole way, run the policy, and compress the same rows in one go beside them."""
    found: Measures = {}
    for label, shape in SHAPES.items():
        written = await way_run(bench, shape, options.seconds, 64 if shape.rows == 10 else 8)
        rows = await bench.database.fetchval("select count(*) from sensor_data")
        await bench.repaired()
        job = await bench.database.fetchval(COLUMNSTORE_JOB)
        sizes = []
        for _ in range(POLICY_RUNS):
            await bench.database.execute(f"call run_job({job})")
            sizes.append(await bench.size("sensor_data") / rows)
        await bench.database.execute(
            "set timescaledb.enable_direct_compress_copy = off;"
            "insert into yardstick (timestamp, sensor_id, value) select timestamp, sensor_id, value from sensor_data"
        )
        for chunk in await bench.database.fetch("select show_chunks('yardstick') as name"):
            await bench.database.execute(f"call convert_to_columnstore('{chunk['name']}')")
        best = await bench.size("yardstick") / rows
        found |= {
            f"{label}: bytes/row as written": written["bytes/row"],
            f"{label}: bytes/row after the policy's first run": sizes[0],
            f"{label}: bytes/row after its second run": sizes[-1],
            f"{label}: bytes/row at best": best,
            f"{label}: × best": sizes[-1] / best,
        }
    return found


CASES = (Case("disk", "bytes on disk after the columnstore policy", measure, columnstore=True),)
