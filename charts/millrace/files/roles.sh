#!/bin/sh
# On a fresh data folder: the role by which read replicas copy and follow. Where the passwords of the services' roles
# are known, those and the database too: a service that comes before the schema then waits, and is not refused.
psql -v ON_ERROR_STOP=1 -U postgres -d postgres -v database="$DATABASE" -v replica="$REPLICATION_PASSWORD" \
  -v owner="${OWNER_PASSWORD:-}" -v writer="${WRITER_PASSWORD:-}" -v reader="${READER_PASSWORD:-}" <<'SQL'
create role millrace_replica login replication password :'replica';
select '' not in (:'owner', :'writer', :'reader') as known \gset
\if :known
create role millrace_owner login createrole password :'owner';
create database :"database" owner millrace_owner;
set role millrace_owner;
create role millrace_writer login password :'writer';
create role millrace_reader login password :'reader';
\endif
SQL
