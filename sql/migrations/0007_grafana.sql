-- What Grafana's PostgreSQL data source reads as the reader, beside the function grafana_hourly. They stand on tables alone:
-- a view over an aggregate would hold up whoever has to make that anew.

create view grafana_readings with (security_invoker = true) as
select d.timestamp as time, d.sensor_id, d.value, s.name, s.field, s.labels, s.unit
from sensor_data d
left join sensors s using (sensor_id);
comment on view grafana_readings is
  'All readings, with what their sensors are called. Ask for a range of time: a question without one reads everything.';

create view grafana_sensors with (security_invoker = true) as
select s.first_seen as time, s.sensor_id, s.name, s.field, s.labels, s.unit
from sensors s;
comment on view grafana_sensors is 'The catalogue of all sensors; time is when the first reading of each was stored.';

create view grafana_latest with (security_invoker = true) as
select l.timestamp as time, s.sensor_id, l.value, s.name, s.field, s.labels, s.unit
from sensors s
cross join lateral (
  select d.timestamp, d.value
  from sensor_data d
  where d.sensor_id = s.sensor_id
  order by d.timestamp desc, d.id desc
  limit 1
) l;
comment on view grafana_latest is 'The newest reading of each sensor by (timestamp, id); sensors without readings are absent.';

grant select on grafana_readings, grafana_sensors, grafana_latest to millrace_reader;
