-- Where there is no TimescaleDB: the buckets of hours and of quarters of an hour, in tables that the repair loop keeps,
-- so that questions need not read all rows. What it has not computed since its rows changed comes from the rows.

do $$
begin
  if exists (select from pg_extension where extname = 'citus')
    or exists (select from pg_extension where extname = 'timescaledb')
      and current_setting('timescaledb.license', true) is not distinct from 'timescale'
    or to_regclass('public.rollup_state') is not null then
    return;
  end if;

  create table sensor_rollup_1h (
    bucket timestamptz not null,
    sensor_id text not null,
    avg double precision not null,
    min double precision not null,
    max double precision not null,
    samples bigint not null,
    primary key (sensor_id, bucket)
  );
  create index sensor_rollup_1h_bucket_idx on sensor_rollup_1h (bucket);
  comment on table sensor_rollup_1h is 'Hours as far as rollup_state and late_ranges say that they are computed.';

  create table sensor_rollup_15m (
    bucket timestamptz not null,
    sensor_id text not null,
    count bigint not null,
    sum double precision not null,
    min double precision not null,
    max double precision not null,
    stddev double precision,
    primary key (sensor_id, bucket)
  );
  create index sensor_rollup_15m_bucket_idx on sensor_rollup_15m (bucket);
  comment on table sensor_rollup_15m is 'Quarters of an hour, kept together with sensor_rollup_1h.';

  create table rollup_state (
    id int primary key default 1 constraint rollup_state_single check (id = 1),
    computed_from timestamptz not null default '-infinity',
    computed_until timestamptz not null default '-infinity',
    closed_until timestamptz not null default '-infinity',
    constraint rollup_state_order check (computed_from <= computed_until and computed_until <= closed_until)
  );
  comment on table rollup_state is 'What the rollups are right of: hours from computed_from to computed_until, without late_ranges.';
  comment on column rollup_state.closed_until is 'Who writes readings of an hour before it notes that hour in late_ranges.';
  insert into rollup_state default values;

  grant select on rollup_state to millrace_writer;
  grant select on rollup_state, sensor_rollup_1h, sensor_rollup_15m to millrace_reader;

  create or replace view measurement_hourly as
  select r.bucket, r.sensor_id, r.avg, r.min, r.max, r.samples
  from sensor_rollup_1h r
  where not (select hours_from_rows(tstzrange(null, null))) @> r.bucket
  union all
  select h.bucket, h.sensor_id, h.avg, h.min, h.max, h.samples
  from unnest((select hours_from_rows(tstzrange(null, null)))) as range
  cross join lateral (
    select
      time_bucket(interval '1 hour', d.timestamp) as bucket,
      d.sensor_id,
      avg(d.value) as avg,
      min(d.value) as min,
      max(d.value) as max,
      count(*) as samples
    from sensor_data d
    where d.timestamp >= coalesce(lower(range), '-infinity')
      and d.timestamp <= coalesce(upper(range) - interval '1 microsecond', 'infinity')
    group by 1, 2
  ) h;

  -- The worker notes the hours that it writes to, and has a setting that says so: no trigger costs it anything. Of an
  -- INSERT no rows are handed over, as these would be kept for the worker's COPY too.
  create trigger sensor_data_inserted after insert on sensor_data
    for each statement when (current_setting('millrace.notes', true) is distinct from 'own')
    execute function note_changed_readings();
  create trigger sensor_data_updated after update on sensor_data
    referencing old table as old_rows new table as new_rows
    for each statement when (current_setting('millrace.notes', true) is distinct from 'own')
    execute function note_changed_readings();
  create trigger sensor_data_deleted after delete on sensor_data
    referencing old table as old_rows
    for each statement when (current_setting('millrace.notes', true) is distinct from 'own')
    execute function note_changed_readings();

  -- The repair process of the release before strikes notes off and computes nothing.
  create trigger late_ranges_deleted after delete on late_ranges
    for each statement when (current_setting('millrace.notes', true) is distinct from 'own')
    execute function forget_rollups();
  create trigger late_ranges_truncated after truncate on late_ranges
    for each statement execute function forget_rollups();
end
$$;
