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
    -- Nor where rollups are kept, which needs one snapshot of all.
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
end
$$;
