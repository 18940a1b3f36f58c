-- What clients without an Idempotency-Key sent lately: a hash for each slice of a request that comes again whole. It
-- stands beside the ledger, whose horizon of days would hold billions of these; the worker prunes it by its own.

create table ingest_recent (
  key uuid primary key,
  committed_at timestamptz not null default now()
);
comment on table ingest_recent is 'Slices of requests without an Idempotency-Key that are stored; pruned behind their horizon.';
comment on column ingest_recent.key is 'Hash of who sent the slice, and of its readings.';
create index ingest_recent_committed_at_idx on ingest_recent using brin (committed_at);

grant select, insert, delete on ingest_recent to millrace_writer;
