-- TRUNCATE takes the readings, and so their hours: what retention drops is another matter.
create trigger sensor_data_truncated after truncate on sensor_data
  for each statement execute function readings_truncated();

-- Services read these tables by Python, which has no instants outside of the years 1 to 9999 and tells no null sensor
-- from another. Only hands can have put such rows there, and nothing can be done for them.
delete from deletions
where not coalesce(
  range_start >= '0001-01-01Z' and range_end < '10000-01-01Z'
  and deleted_until >= '0001-01-01Z' and deleted_until < '10000-01-01Z'
  and requested_at >= '0001-01-01Z' and requested_at < '10000-01-01Z'
  and (finished_at is null or finished_at >= '0001-01-01Z' and finished_at < '10000-01-01Z')
  and array_ndims(sensor_ids) = 1 and array_position(sensor_ids, null) is null, false);
alter table deletions
  add constraint deletions_years check (
    range_start >= '0001-01-01Z' and range_end < '10000-01-01Z'
    and deleted_until >= '0001-01-01Z' and deleted_until < '10000-01-01Z'
    and requested_at >= '0001-01-01Z' and requested_at < '10000-01-01Z'
    and (finished_at is null or finished_at >= '0001-01-01Z' and finished_at < '10000-01-01Z')),
  add constraint deletions_sensor_ids check (
    coalesce(array_ndims(sensor_ids) = 1 and array_position(sensor_ids, null) is null, false));

delete from dropped_ranges where range_start < '0001-01-01Z' or range_end >= '10000-01-01Z';
alter table dropped_ranges
  add constraint dropped_ranges_years check (range_start >= '0001-01-01Z' and range_end < '10000-01-01Z');
