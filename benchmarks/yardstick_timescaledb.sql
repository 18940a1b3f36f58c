-- The same with TimescaleDB; see sql/hypertable.sql. No policy is added: it would work while something is measured.

select create_hypertable('yardstick', by_range('timestamp', interval '7 days'), create_default_indexes => false);
alter table yardstick set (
  timescaledb.enable_columnstore,
  timescaledb.segmentby = 'sensor_id',
  timescaledb.orderby = 'timestamp'
);
create materialized view yardstick_hourly
  with (timescaledb.continuous, timescaledb.materialized_only = false) as
select
  time_bucket(interval '1 hour', timestamp) as bucket,
  sensor_id,
  avg(value) as avg,
  min(value) as min,
  max(value) as max,
  count(*) as samples
from yardstick
group by 1, 2
with no data;
