-- Where retention, or drop_chunks by hand, took the rows from under an aggregate that keeps their buckets. No refresh
-- may read there: it would find nothing, and the buckets would be gone for good. The repair loop writes both tables.

create table dropped_ranges (
  hypertable_id int not null,
  range_start timestamptz not null,
  range_end timestamptz not null,
  noted_at timestamptz not null default now(),
  primary key (hypertable_id, range_start),
  constraint dropped_ranges_order check (range_start < range_end and isfinite(range_start) and isfinite(range_end))
);
comment on table dropped_ranges is 'Ranges whose rows are gone while an aggregate over them keeps their buckets.';
comment on column dropped_ranges.hypertable_id is 'TimescaleDB''s id of the hypertable that the rows were in.';

create table known_chunks (
  hypertable_id int primary key,
  ranges tstzmultirange not null
);
comment on table known_chunks is 'Ranges of the chunks that stood at the last look: one that is gone was dropped.';

grant select on dropped_ranges, known_chunks to millrace_writer, millrace_reader;

select note_dropped_ranges();
