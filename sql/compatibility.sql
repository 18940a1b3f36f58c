-- Without TimescaleDB, or with its Apache edition: the same names, computed at each question. Migration 12 puts a view in
-- place of this one that takes what the repair loop has computed.

do $$
begin
  if to_regprocedure('public.time_bucket(interval, timestamptz)') is null then
    -- TimescaleDB's own origin, a Monday. Months and years have no fixed width and are refused.
    create function public.time_bucket(bucket_width interval, ts timestamptz) returns timestamptz
      language sql immutable strict parallel safe
      return date_bin(bucket_width, ts, timestamptz '2000-01-03 00:00:00+00');
  end if;

  if to_regclass('public.measurement_hourly') is null then
    create view measurement_hourly as
    select
      time_bucket(interval '1 hour', timestamp) as bucket,
      sensor_id,
      avg(value) as avg,
      min(value) as min,
      max(value) as max,
      count(*) as samples
    from sensor_data
    group by 1, 2;
  end if;
end
$$;
