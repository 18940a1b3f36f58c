#!/bin/sh
# On a fresh data folder: the role by which read replicas copy and follow.
psql -v ON_ERROR_STOP=1 -U postgres -d postgres -v word="$REPLICATION_PASSWORD" <<'SQL'
create role millrace_replica login replication password :'word';
SQL
