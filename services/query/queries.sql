-- The questions, without the limit that is put behind them. `$1` is always the sensor; every range is half-open.
-- asyncpg sends the first and the last instant that Python has as infinities, and rows of other years may stand in the
-- table by SQL; so a range is held to the years 1 to 9999 here.

-- name: readings
-- Rows in the order of (timestamp, id), behind the keyset of the last row of the page before: `$2` is that row's
-- timestamp and `$4` its id, or the range's start and an id below all.
select id, timestamp, value
from sensor_data
where sensor_id = $1
  and timestamp >= greatest($2, timestamptz '0001-01-01Z')
  and timestamp < least($3, timestamptz '9999-12-31 23:59:59.999999Z')
  and (timestamp > $2 or id > $4)
order by timestamp, id

-- name: minimum
-- The least value of a range, null where there is none.
select min(value)
from sensor_data
where sensor_id = $1
  and timestamp >= greatest($2, timestamptz '0001-01-01Z')
  and timestamp < least($3, timestamptz '9999-12-31 23:59:59.999999Z')

-- name: changed
-- The hours that the next statement takes from the rows.
select hours_from_rows(span) + tier_deleted(array[$1], span) as ranges
from (
  select tstzrange(greatest($2, timestamptz '0001-01-01Z'), least($3, timestamptz '9999-12-31 23:59:59.999999Z')) as span
) as asked

-- name: hours
-- Hour buckets that start in the range. Hours that the aggregate has not computed since their rows changed come from the
-- rows, the others from the aggregate. One snapshot serves the planning and the statement: a change that it does not find
-- noted any more was refreshed before, and into chunks that the plan knows. `$2` and `$3` are whole hours; that they stand
-- once more in the last part lets the planner leave out chunks, which it does not know of a join's ranges.
with changed as materialized (
  select hours_from_rows(span) + tier_deleted(array[$1], span) as ranges
  from (
    select tstzrange(greatest($2, timestamptz '0001-01-01Z'), least($3, timestamptz '9999-12-31 23:59:59.999999Z')) as span
  ) as asked
)
select bucket, avg, min, max, samples
from measurement_hourly
where sensor_id = $1
  and bucket >= greatest($2, timestamptz '0001-01-01Z')
  and bucket < least($3, timestamptz '9999-12-31 23:59:59.999999Z')
  and not (select ranges from changed) @> bucket
union all
select hours.bucket, hours.avg, hours.min, hours.max, hours.samples
from changed
cross join unnest(changed.ranges) as range
cross join lateral (
  select
    time_bucket(interval '1 hour', timestamp) as bucket,
    avg(value) as avg,
    min(value) as min,
    max(value) as max,
    count(*) as samples
  from sensor_data
  where sensor_id = $1
    and timestamp >= greatest($2, timestamptz '0001-01-01Z')
    and timestamp < least($3, timestamptz '9999-12-31 23:59:59.999999Z')
    and timestamp >= lower(range)
    and timestamp < upper(range)
  group by 1
) as hours
order by bucket
