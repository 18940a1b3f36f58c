-- Quarters of an hour beside the hours: every local hour, day, month and year of today's time zones consists of them, and
-- their partials merge. The history is filled by repair, newest first, some days at a time; until then questions take
-- the rows. It is made without real time, as nobody but SQL by hand would read the open bucket from it.

do $$
begin
  if not exists (select from pg_extension where extname = 'timescaledb')
    or current_setting('timescaledb.license', true) is distinct from 'timescale'
    or to_regclass('public.sensor_rollup_15m') is not null then
    return;
  end if;

  create materialized view sensor_rollup_15m
    with (timescaledb.continuous, timescaledb.materialized_only = true) as
  select
    time_bucket(interval '15 minutes', timestamp) as bucket,
    sensor_id,
    count(*) as count,
    sum(value) as sum,
    min(value) as min,
    max(value) as max,
    stddev(value) as stddev
  from sensor_data
  group by 1, 2
  with no data;
  perform add_continuous_aggregate_policy(
    'sensor_rollup_15m',
    start_offset => interval '7 days',
    end_offset => interval '1 minute',
    schedule_interval => interval '1 minute'
  );
  grant select on sensor_rollup_15m to millrace_reader;
end
$$;
