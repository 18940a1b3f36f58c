#!/bin/sh
# A read replica of $PRIMARY in $PGDATA. Where the data there cannot follow the primary (none yet, those of another
# server, or the slot lost because the primary would not keep more for it), it copies them anew.
#
#   start OPTION...   get ready and become the server, with these options
#   check             whether it lives: it serves, and either follows or may do so again
set -eu
slot=replica_${HOSTNAME##*-}
secret=${TMPDIR:-/tmp}/pgpass
export PGPASSFILE=$secret PGCONNECT_TIMEOUT=5
replication="host=$PRIMARY user=millrace_replica application_name=$HOSTNAME"

say() { echo "replica: $*" >&2; }

primary() { psql -XAtq -v ON_ERROR_STOP=1 -d "$replication dbname=postgres" -c "$1"; }

primary_is_there() { primary 'select 1' >/dev/null 2>&1; }

slot_is_kept() { [ "$(primary "select wal_status <> 'lost' from pg_replication_slots where slot_name = '$slot'")" = t ]; }

same_server() {
  here=$(pg_controldata "$PGDATA" | sed -n 's/^Database system identifier: *//p')
  there=$(psql -XAtq -d "$replication dbname=postgres replication=true" -c IDENTIFY_SYSTEM | cut -d '|' -f 1)
  [ "$here" = "$there" ]
}

copy() {
  say "copying from $PRIMARY"
  rm -rf "$PGDATA" "$PGDATA.new"
  primary "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '$slot'" >/dev/null
  pg_basebackup -d "$replication" -D "$PGDATA.new" -X stream -C -S "$slot" --checkpoint=fast
  chmod 700 "$PGDATA.new"
  touch "$PGDATA.new/standby.signal"
  mv "$PGDATA.new" "$PGDATA"
}

prepare() {
  (umask 077 && echo "*:*:*:millrace_replica:$REPLICATION_PASSWORD" >"$secret")
  if [ -s "$PGDATA/PG_VERSION" ]; then
    for _ in 1 2 3 4 5; do primary_is_there && break; sleep 1; done
    if ! primary_is_there; then say "$PRIMARY is away; serving what is here"; return; fi
    if same_server && slot_is_kept; then say "following $PRIMARY"; return; fi
    say "the data here cannot follow $PRIMARY"
  else
    primary_is_there || say "waiting for $PRIMARY"
    until primary_is_there; do sleep 2; done
  fi
  copy
}

case $1 in
  start)
    shift
    prepare
    exec postgres "$@" -c "primary_slot_name=$slot" -c "primary_conninfo=$replication passfile=$secret" -c hot_standby_feedback=on
    ;;
  check)
    pg_isready -q -U postgres
    [ -z "$(psql -XAtq -U postgres -d postgres -c 'select 1 from pg_stat_wal_receiver')" ] || exit 0
    primary_is_there || exit 0
    slot_is_kept
    ;;
esac
