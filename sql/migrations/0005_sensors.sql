-- The catalogue: every sensor that has readings, those of labelled series with name, field and labels. The worker adds
-- what is new in the transaction that writes the readings; what was there before is filled in by the loop beside repair.

create table sensors (
  sensor_id text primary key,
  name text,
  field text,
  labels jsonb,
  kind text,
  unit text,
  first_seen timestamptz not null default now(),
  constraint sensors_labelled check ((name is null) = (labels is null) and (field is null or labels is not null)),
  constraint sensors_labels_object check (jsonb_typeof(labels) = 'object'),
  constraint sensors_first_seen_years check (first_seen >= '0001-01-01Z' and first_seen < '10000-01-01Z')
);
comment on table sensors is 'The catalogue of all sensors. Nothing is taken out of it by itself.';
comment on column sensors.name is 'Name of a labelled series; null for a plain sensor, whose id a client chose.';
comment on column sensors.field is 'Field of a labelled series that has one.';
comment on column sensors.labels is 'Labels, each a text; null for a plain sensor.';
comment on column sensors.first_seen is
  'When its first reading was stored; where that was before the catalogue, the timestamp of its earliest reading then.';

-- Pages in the order of bytes, and ids that begin with a word, whatever the database's own collation.
create index sensors_sensor_id_bytes_idx on sensors (sensor_id collate "C");
create index sensors_name_idx on sensors (name) where name is not null;
create index sensors_labels_idx on sensors using gin (labels jsonb_path_ops);

create table catalogue_filling (
  id int primary key default 1 constraint catalogue_filling_single check (id = 1),
  started_at timestamptz,
  reached timestamptz,
  reached_sensor text,
  added bigint not null default 0,
  passes bigint not null default 0,
  finished_at timestamptz,
  constraint catalogue_filling_years check (reached >= '0001-01-01Z' and reached < '10000-01-01Z')
);
comment on table catalogue_filling is 'How far the catalogue is filled with sensors whose readings no worker entered there.';
comment on column catalogue_filling.started_at is 'Of the pass that is under way; null between two.';
comment on column catalogue_filling.reached is 'Chunks that begin before this are done in this pass.';
comment on column catalogue_filling.reached_sensor is 'In a table without chunks: the last sensor that is done.';
comment on column catalogue_filling.added is 'Sensors that were added by all passes.';
insert into catalogue_filling default values;

grant select, insert, update (name, field, labels) on sensors to millrace_writer;
grant select on sensors, catalogue_filling to millrace_reader;
