-- On a Citus cluster: the readings are spread over its nodes, those of a sensor on one. Elsewhere nothing happens here,
-- nor where readings lie in an ordinary table already: spreading these would lock out everybody for as long as it takes.
-- Partitions beside the first and the last one are made by who applies this, and by the repair process or the operator.
--
-- All other tables stay ordinary ones of the coordinator, through which everybody writes and asks. So whether a batch is
-- in the ledger is decided by the coordinator's own commit, which also decides over the readings on the nodes.

do $$
declare
  this_week timestamptz;
begin
  if not exists (select from pg_extension where extname = 'citus') then
    return;
  end if;
  -- All that follows is one transaction, for which each node has one connection then.
  perform set_config('citus.multi_shard_modify_mode', 'sequential', true);
  if not exists (select from pg_dist_partition where logicalrelid = 'sensor_data'::regclass) then
    -- Nor where triggers of migration 12 look after the readings, which Citus does not take.
    if exists (select from sensor_data) or to_regclass('public.rollup_state') is not null then
      return;
    end if;
    -- Citus takes no triggers. This one tells aggregates of a truncation, and there are none here.
    drop trigger if exists sensor_data_truncated on sensor_data;
    if exists (select from pg_partitioned_table where partrelid = 'sensor_data'::regclass)
      and not exists (select from pg_inherits where inhparent = 'sensor_data'::regclass) then
      this_week := date_bin('7 days', now(), '2000-01-03 00:00:00+00');
      execute format(
        'create table sensor_data_before partition of sensor_data for values from (minvalue) to (%1$L);
         create table sensor_data_after partition of sensor_data for values from (%1$L) to (maxvalue);
         alter table sensor_data_before replica identity full;
         alter table sensor_data_after replica identity full', this_week);
    end if;
    -- Without a key of their own, rows must be logged whole where deletions go on while a shard moves.
    alter table sensor_data replica identity full;
    perform create_distributed_table('sensor_data', 'sensor_id', colocate_with => 'none');
  end if;

  if to_regtype('public.reading') is null then
    create type reading as ("timestamp" timestamptz, id bigint, value double precision);
  end if;
  -- A sensor's readings of a range in the order of (timestamp, id), the first of them alone where `most` says how many.
  -- Citus joins nothing laterally to what it limits or orders on its nodes; a function of the coordinator asks sensor by
  -- sensor, each one node.
  create or replace function readings_of(
    sensor text, since timestamptz, until timestamptz, newest_first boolean, most bigint
  ) returns setof reading
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
  as $function$
  begin
    return query execute format(
      'select timestamp, id, value from public.sensor_data
       where sensor_id = $1 and timestamp >= $2 and timestamp < $3
       order by timestamp %1$s, id %1$s limit $4', case when newest_first then 'desc' else 'asc' end)
    using sensor, since, until, most;
  end
  $function$;
  comment on function readings_of(text, timestamptz, timestamptz, boolean, bigint) is
    'Readings of a sensor in a half-open range, in their order.';

  -- For the view: over a function that returns rows of a type, Citus would see the three depend on each other.
  create or replace function newest_reading(sensor text) returns table ("timestamp" timestamptz, value float8)
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
  as $function$
  begin
    return query select r.timestamp, r.value from public.readings_of(sensor, '-infinity', 'infinity', true, 1) r;
  end
  $function$;
  comment on function newest_reading(text) is 'The newest reading of a sensor by (timestamp, id).';

  revoke execute on function readings_of(text, timestamptz, timestamptz, boolean, bigint), newest_reading(text) from public;
  grant execute on function readings_of(text, timestamptz, timestamptz, boolean, bigint), newest_reading(text)
    to millrace_reader;

  create or replace view grafana_latest with (security_invoker = true) as
  select l.timestamp as time, s.sensor_id, l.value, s.name, s.field, s.labels, s.unit
  from sensors s
  cross join lateral newest_reading(s.sensor_id) l;

  -- The buckets that migration 12 makes in plain mode, beside the readings of their sensors. What is computed and what has
  -- changed since stays on the coordinator. No snapshot is one of both, so whoever asks reads what the coordinator says
  -- first, and the buckets behind that; and the repair loop says that an hour is right once all nodes show its buckets, and
  -- that it is not right in the transaction that changes the readings. So a bucket is as the readings were when the
  -- coordinator was asked, or later, and never before.
  if to_regclass('public.rollup_state') is null then
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

    grant select on sensor_rollup_1h, sensor_rollup_15m to millrace_reader;
    perform create_distributed_table('sensor_rollup_1h', 'sensor_id', colocate_with => 'sensor_data');
    perform create_distributed_table('sensor_rollup_15m', 'sensor_id', colocate_with => 'sensor_data');

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
    grant select on rollup_state to millrace_writer, millrace_reader;

    -- A node has no notes: that the ranges are read together with a table of the coordinator keeps them from being asked
    -- for there. Citus has copied the view of before to the nodes, and would want that table there as well; one that is made
    -- anew it leaves alone. Where views of somebody else stand on the one of before, it stays, and shows the rows.
    begin
      drop view measurement_hourly;
      create view measurement_hourly as
      with changed as materialized (
        select hours_from_rows(tstzrange(null, null)) as ranges from rollup_state
      )
      select r.bucket, r.sensor_id, r.avg, r.min, r.max, r.samples
      from sensor_rollup_1h r
      where not (select ranges from changed) @> r.bucket
      union all
      select h.bucket, h.sensor_id, h.avg, h.min, h.max, h.samples
      from (
        select
          time_bucket(interval '1 hour', d.timestamp) as bucket,
          d.sensor_id,
          avg(d.value) as avg,
          min(d.value) as min,
          max(d.value) as max,
          count(*) as samples
        from sensor_data d
        where (select ranges from changed) @> d.timestamp
        group by 1, 2
      ) h;
      grant select on measurement_hourly to millrace_reader;
    exception
      when dependent_objects_still_exist then
    end;

    -- Who strikes notes off and computes nothing.
    create trigger late_ranges_deleted after delete on late_ranges
      for each statement when (current_setting('millrace.notes', true) is distinct from 'own')
      execute function forget_rollups();
    create trigger late_ranges_truncated after truncate on late_ranges
      for each statement execute function forget_rollups();
  end if;
end
$$;
