-- Deletions of readings: who asked for which, why, and how far they are carried out. Rows stay, as a record.
create table deletions (
  deletion_id uuid primary key,
  number bigint generated always as identity unique,
  sensor_ids text[] not null,
  range_start timestamptz not null,
  range_end timestamptz not null,
  reason text not null,
  requested_by text not null,
  requested_at timestamptz not null,
  last_id bigint not null,
  deleted_until timestamptz not null,
  rows bigint not null default 0,
  hours bigint not null default 0,
  last_hour timestamptz not null default '-infinity',
  finished_at timestamptz,
  problem text,
  constraint deletions_range check (range_start < range_end and isfinite(range_start) and isfinite(range_end))
);
comment on table deletions is 'Readings that were taken back: half-open ranges of sensors, each with its reason.';
comment on column deletions.number is 'Order in which deletions were taken.';
comment on column deletions.requested_at is 'By the clock of ingest: readings accepted until then are meant, later ones stay.';
comment on column deletions.last_id is 'Highest id of sensor_data that was given out by then: rows behind it came later.';
comment on column deletions.deleted_until is 'How far it is carried out.';
comment on column deletions.hours is 'Hour buckets that lost rows; last_hour is the last of them.';
comment on column deletions.problem is 'Why the last attempt failed; null while it goes on.';

create index deletions_requested_at_idx on deletions (requested_at);
create index deletions_unfinished_idx on deletions (number) where finished_at is null;

grant select, insert on deletions to millrace_writer;
grant select on deletions to millrace_reader;
