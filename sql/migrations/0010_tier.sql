-- The cold tier: chunks whose readings lie in Parquet files on object storage. What is listed here is where they are, in
-- the same database as the rows, so that a chunk is dropped and its files are listed by one commit.

create table tier_policy (
  id int primary key default 1 constraint tier_policy_single check (id = 1),
  after interval,
  constraint tier_policy_after check (after >= interval '1 day')
);
comment on table tier_policy is 'The age from which chunks go to the tier.';
comment on column tier_policy.after is 'Null where none do.';
insert into tier_policy default values;

create table tier_chunks (
  chunk_id bigint generated always as identity primary key,
  range_start timestamptz not null,
  range_end timestamptz not null,
  rows bigint not null,
  aggregates int[] not null,
  deletions bigint not null,
  moved_at timestamptz not null default now(),
  constraint tier_chunks_order check (range_start < range_end),
  constraint tier_chunks_years check (range_start >= '1800-01-01Z' and range_end < '2250-01-01Z')
);
comment on table tier_chunks is 'Chunks that were moved to the tier; one that late readings made anew is one more.';
comment on column tier_chunks.aggregates is 'TimescaleDB''s ids of the aggregates that had computed it.';
comment on column tier_chunks.deletions is 'Number of the newest deletion when it was moved: its aggregates know of no later one.';
create index tier_chunks_range_idx on tier_chunks (range_end, range_start);

create table tier_files (
  file_id bigint generated always as identity primary key,
  chunk_id bigint not null references tier_chunks on delete cascade,
  path text not null unique,
  day date not null,
  bucket int not null,
  buckets int not null,
  first timestamptz not null,
  last timestamptz not null,
  rows bigint not null,
  bytes bigint not null,
  deletions bigint not null,
  constraint tier_files_bucket check (bucket >= 0 and bucket < buckets)
);
comment on table tier_files is 'Parquet files of the tier, each of one day and of the sensors of one bucket.';
comment on column tier_files.path is 'Below MILLRACE_TIER_LOCATION.';
comment on column tier_files.bucket is 'CRC-32 of the sensor''s id in UTF-8, modulo buckets.';
comment on column tier_files.deletions is 'Number of the newest deletion that it was written without: later ones are applied when it is read.';
create index tier_files_first_idx on tier_files (first);
create index tier_files_last_idx on tier_files (last);
create index tier_files_chunk_idx on tier_files (chunk_id);

create table tier_sensors (
  sensor_id text primary key,
  first timestamptz not null,
  last timestamptz not null,
  last_id bigint not null,
  last_value double precision not null
);
comment on table tier_sensors is 'Sensors with readings in the tier: none is before first, and which one is the newest.';

create table tier_stale (
  range_start timestamptz not null,
  range_end timestamptz not null,
  primary key (range_start, range_end)
);
comment on table tier_stale is 'Hours of the tier that late readings touched: no refresh has their rows, so that questions read them.';

create table tier_garbage (
  path text primary key,
  since timestamptz not null default now()
);
comment on table tier_garbage is 'Files that are being written, or that no question will ask for any more; removed after a grace.';

create table tier_gate ();
comment on table tier_gate is 'Has no rows: who reads the tier where there are too many chunks to lock locks it, who moves one too.';

grant select on tier_policy, tier_chunks, tier_files, tier_sensors, tier_stale, tier_gate to millrace_reader;
