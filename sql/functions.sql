-- Functions, replaced at each apply. They are PL/pgSQL, which looks names up when it runs: so they can be
-- created before a migration that they need.

-- Rows in an hour that starts before this instant need a note in late_ranges: an aggregate may have read that
-- hour already. No policy materialises an hour within a minute of its end (end_offset), and the worker's
-- transaction is over by then, so hours younger than 59 minutes need none, unless somebody refreshed further by
-- hand, which the watermarks tell. Aggregates of less than an hour are left to their policies, whose windows
-- cover those hours: their watermarks run through the current hour and would make every row late.
create or replace function late_before() returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
as $$
declare
  aggregates int;
  watermark bigint;
begin
  if to_regclass('_timescaledb_catalog.continuous_aggs_watermark') is null then
    return '-infinity';
  end if;
  select count(*), max(w.watermark) filter (where b.bucket_width::interval >= interval '1 hour')
  into aggregates, watermark
  from _timescaledb_catalog.hypertable h
  join _timescaledb_catalog.continuous_agg a on a.raw_hypertable_id = h.id
  join _timescaledb_catalog.continuous_aggs_bucket_function b using (mat_hypertable_id)
  join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
  where h.schema_name = 'public' and h.table_name = 'sensor_data';
  if aggregates = 0 then
    return '-infinity';
  end if;
  return greatest(now() - interval '59 minutes', _timescaledb_functions.to_timestamp(watermark));
end
$$;
comment on function late_before() is 'Rows in an hour that starts before this need a note in late_ranges.';
