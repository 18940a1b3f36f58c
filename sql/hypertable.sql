-- With TimescaleDB's full edition: sensor_data as a hypertable with a columnstore, measurement_hourly as a
-- continuous aggregate. Elsewhere nothing happens here; PL/pgSQL plans a statement only when it is reached.

do $$
begin
  if not exists (select from pg_extension where extname = 'timescaledb')
    or current_setting('timescaledb.license', true) is distinct from 'timescale' then
    return;
  end if;

  if not exists (
    select from timescaledb_information.hypertables
    where hypertable_schema = 'public' and hypertable_name = 'sensor_data'
  ) then
    perform create_hypertable(
      'sensor_data', by_range('timestamp', interval '7 days'), create_default_indexes => false
    );
    alter table sensor_data set (
      timescaledb.enable_columnstore,
      timescaledb.segmentby = 'sensor_id',
      timescaledb.orderby = 'timestamp'
    );
    -- Later than the aggregate's window, so that its refreshes read the row store.
    call add_columnstore_policy('sensor_data', after => interval '8 days');
  end if;

  if to_regclass('public.measurement_hourly') is null then
    -- WITH NO DATA, and never an open end: a refresh of the future would push the watermark past live rows.
    create materialized view measurement_hourly
      with (timescaledb.continuous, timescaledb.materialized_only = false) as
    select
      time_bucket(interval '1 hour', timestamp) as bucket,
      sensor_id,
      avg(value) as avg,
      min(value) as min,
      max(value) as max,
      count(*) as samples
    from sensor_data
    group by 1, 2
    with no data;
    perform add_continuous_aggregate_policy(
      'measurement_hourly',
      start_offset => interval '7 days',
      end_offset => interval '1 minute',
      schedule_interval => interval '1 minute'
    );
  end if;
end
$$;
