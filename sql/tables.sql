-- The tables of version 1. After a release they change by migrations alone.

create table if not exists schema_migrations (
  version int primary key,
  name text not null,
  body_sha256 text,
  applied_at timestamptz not null default now()
);
comment on table schema_migrations is 'Which migrations this database has had; a released one never changes.';

-- Readings. Two rows of one sensor at one instant are legal, so there is no natural key; and a unique key of any
-- sort would switch compression on COPY off. The cache makes COPY a third cheaper; a connection that ends leaves a
-- gap in the ids.
-- On a Citus cluster they lie in partitions of time; before PostgreSQL 17 a partitioned table had no identity.
do $$
begin
  if to_regclass('sensor_data') is null then
    execute format(
      $table$
        create table sensor_data (
          id bigint generated always as identity (cache 100),
          timestamp timestamptz not null,
          sensor_id text not null,
          value double precision not null
        ) %s
      $table$,
      case
        when current_setting('server_version_num')::int >= 170000
          and exists (select from pg_extension where extname = 'citus')
        then 'partition by range (timestamp)' else ''
      end
    );
  end if;
end
$$;
comment on table sensor_data is 'Readings: one measured value each.';

-- Batches that are committed: the worker writes their ids in the transaction that writes their rows.
create table if not exists ingest_ledger (
  batch_id uuid primary key,
  batches int not null,
  rows int not null,
  digest bytea,
  accepted_at timestamptz not null,
  committed_at timestamptz not null default now(),
  repeats int not null default 0,
  dead jsonb
);
comment on table ingest_ledger is 'Batches that the database has, or has refused; pruned behind its horizon.';
comment on column ingest_ledger.batches is 'How many batches share the row: 1, or all anonymous ones of an entry.';
comment on column ingest_ledger.digest is 'Hash of the readings of a batch with an Idempotency-Key.';
comment on column ingest_ledger.repeats is 'How often the batch came again and was not stored again.';
comment on column ingest_ledger.dead is 'Refused batches: position in the group, or 0, to "reason: detail".';

-- Ranges whose rows came behind an aggregate. They are inserted and deleted, never updated: the repair loop
-- strikes off exactly the rows that it had read before its refresh.
create table if not exists late_ranges (
  id bigint generated always as identity primary key,
  range_start timestamptz not null,
  range_end timestamptz not null,
  noted_at timestamptz not null default now(),
  constraint late_ranges_order check (range_start < range_end and isfinite(range_start) and isfinite(range_end))
);
comment on table late_ranges is 'Hour-aligned half-open ranges that queries answer from rows until a refresh.';

-- What an operator drops when the custom resource is gone. The Schema's uid keeps operators of other clusters off.
create table if not exists dropped_with_resource (
  kind text not null,
  name text not null,
  schema_uid uuid not null,
  resource_uid uuid not null,
  primary key (kind, name)
);
comment on table dropped_with_resource is 'Objects whose custom resource says deletionPolicy: Delete.';

-- CREATE INDEX IF NOT EXISTS would lock out writers before it looks; these look first.
do $$
begin
  if to_regclass('sensor_data_sensor_id_timestamp_idx') is null then
    create index sensor_data_sensor_id_timestamp_idx on sensor_data (sensor_id, timestamp desc);
  end if;
  if to_regclass('ingest_ledger_committed_at_idx') is null then
    create index ingest_ledger_committed_at_idx on ingest_ledger using brin (committed_at);
  end if;
end
$$;
