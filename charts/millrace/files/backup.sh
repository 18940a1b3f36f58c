#!/bin/sh
# Backups of a server, on the volume at $ARCHIVE. Each run-INSTANT there is a stretch in which nothing is missing: `wal` is
# the write-ahead log of one timeline without a gap, `base` has base backups, by the instant from which on each is of use,
# and `server` says which server and timeline they are of.
#
#   archive            receive the log, into the newest run or into a new one where that cannot go on
#   check              whether the log arrives and is not behind
#   base               take a base backup into the newest run, verify it, and drop all but the newest $KEEP
#   restore OPTION...  make the empty $PGDATA what the archive has, up to $INSTANT if said, by a server with these options
#   drill OPTION...    the same beside the server at $LIVE, up to now, and hold the readings of both against each other
set -eu
umask 077
slot=backup
trap 'exit 1' TERM

say() { echo "backup: $*" >&2; }
fail() { say "$*"; exit 1; }
ask() { psql -XAtq -v ON_ERROR_STOP=1 -c "$1"; }

# Print the newest run that was begun in full; those of others are older, and end with a gap.
run() {
  last=$(ls -d "$ARCHIVE"/run-* 2>/dev/null | sort | tail -n 1)
  if [ -n "$last" ] && [ -f "$last/server" ]; then echo "$last"; fi
}

# Print the base backups, newest first.
bases() { ls -d "$ARCHIVE"/run-*/base/[0-9]* 2>/dev/null | sort -r; }

begin_run() {
  new=$ARCHIVE/run-$(ask "select to_char(clock_timestamp() at time zone 'UTC', 'YYYYMMDD\"T\"HH24MISS\"Z\"')")
  say "beginning ${new##*/}"
  # In this order, an end in between leaves no run that looks whole.
  mkdir -p "$new/wal" "$new/base"
  ask "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '$slot'" >/dev/null
  ask "select pg_create_physical_replication_slot('$slot', true)" >/dev/null
  echo "$1" >"$new/server.new"
  mv "$new/server.new" "$new/server"
}

# See to it that the newest run is one that the server's log can go on in.
ready_run() {
  server=$(psql -XAtq -d "dbname=postgres replication=true" -c IDENTIFY_SYSTEM | cut -d '|' -f 1,2)
  current=$(run)
  if [ -n "$current" ]; then
    was=$(cat "$current/server")
    [ "${was%|*}" = "${server%|*}" ] || fail "the backups here are of another database (${was%|*}) than the server's (${server%|*}):" \
      "restore them, or move them away to begin anew"
    state=$(ask "select wal_status from pg_replication_slots where slot_name = '$slot'")
    if [ "$was" = "$server" ] && [ -n "$state" ] && [ "$state" != lost ]; then return; fi
    say "${current##*/} ends here: slot ${state:-absent}, was $was, is $server"
  fi
  begin_run "$server"
}

first_base() {
  until ls -d "$(run)"/base/[0-9]* >/dev/null 2>&1; do
    until check; do sleep 1; done
    sh "$0" base || sleep 60
  done
}

archive() {
  receiver='' taker=''
  trap 'kill $receiver $taker 2>/dev/null || true; wait; exit 0' TERM INT
  while :; do
    until pg_isready -q; do sleep 1; done
    ready_run
    pg_receivewal --no-loop --synchronous -S "$slot" -D "$(run)/wal" &
    receiver=$!
    if [ -z "$taker" ] || ! kill -0 "$taker" 2>/dev/null; then first_base & taker=$!; fi
    wait "$receiver" || say "the log has stopped coming; trying again"
    sleep 2 & wait $!
  done
}

check() {
  behind="active and wal_status <> 'lost' and pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) < 256 * 1024 * 1024"
  [ "$(ask "select $behind from pg_replication_slots where slot_name = '$slot'")" = t ]
}

base() {
  current=$(run)
  [ -n "$current" ] && check || fail "the log is not being archived, and a base backup is worth nothing without it"
  new=$current/base/.$HOSTNAME
  rm -rf "$new"
  say "taking a base backup"
  pg_basebackup -D "$new" -Ft --compress=gzip:1 -X stream --checkpoint=fast
  pg_verifybackup -q -n "$new"
  # The next whole second: whoever asks for an instant from then on is served.
  name=$(ask "select to_char(clock_timestamp() at time zone 'UTC' + interval '1 second', 'YYYYMMDD\"T\"HH24MISS\"Z\"')")
  mv "$new" "$current/base/$name"
  say "took base backup $name of $(du -sh "$current/base/$name" | cut -f 1)"
  prune
}

# Drop all but the newest $KEEP base backups, and the log that leads to none of those.
prune() {
  current=$(run)
  find "$ARCHIVE"/run-*/base -maxdepth 1 -name '.*' -mtime +2 -exec rm -rf {} +
  for old in $(bases | tail -n "+$((KEEP + 1))"); do say "dropping base backup ${old##*/}"; rm -rf "$old"; done
  for each in "$ARCHIVE"/run-*; do
    oldest=$(ls -d "$each"/base/[0-9]* 2>/dev/null | sort | head -n 1)
    if [ -n "$oldest" ]; then
      pg_archivecleanup "$each/wal" "$(first_segment "$oldest")"
    elif [ "$each" != "$current" ]; then
      say "dropping ${each##*/}, which has no base backup any more"
      rm -rf "$each"
    fi
  done
}

# Print the name of the first segment of the log, of 16 MB, that a base backup needs.
first_segment() {
  set -- $(sed -n 's|.*"Timeline": \([0-9]*\), "Start-LSN": "\([0-9A-F]*\)/\([0-9A-F]*\)".*|\1 \2 \3|p' "$1/backup_manifest")
  printf '%08X%08X%08X\n' "$1" "0x$2" "$((0x$3 >> 24))"
}

# Print behind which segment the log of a base backup has a gap, `-` where its first one is absent; nothing where it has none.
gap() {
  ls "${1%/base/*}/wal" | awk -v first="$(first_segment "$1")" '
    function number(name,  at, sum) {
      for (at = 9; at <= 24; at = at == 16 ? 23 : at + 1) sum = sum * 16 + index("123456789ABCDEF", substr(name, at, 1))
      return sum
    }
    BEGIN { next_one = number(first); before = "-" }
    /^[0-9A-F]+(\.partial)?$/ {
      this = number($0)
      if (this > next_one) { print before; over = 1; exit }
      if (this == next_one) { next_one++; before = substr($0, 1, 24) }
    }
    END { if (!over && before == "-") print before }'
}

# A segment that is still being written has another name.
fetch() {
  for name in "$2" "$2.partial" "$2"; do
    if [ -f "$1/$name" ]; then cp "$1/$name" "$3"; return; fi
  done
  exit 1
}

unpack() {
  say "unpacking base backup ${1##*/}"
  rm -rf "$2"
  mkdir -p -m 700 "$2"
  tar -xzf "$1/base.tar.gz" -C "$2" && tar -xzf "$1/pg_wal.tar.gz" -C "$2/pg_wal"
}

here() { psql -XAtq -v ON_ERROR_STOP=1 -h /tmp -U postgres "$@"; }

# Start a server for this script alone on a folder with a base backup, and wait until it answers what is said: folder,
# run, question that it answers with t, options. Nothing works on its data beside recovery.
recover() {
  folder=$1 log=$2/wal until=$3
  shift 3
  touch "$folder/recovery.signal"
  postgres -D "$folder" "$@" -c listen_addresses= -c unix_socket_directories=/tmp -c ssl=off \
    -c "restore_command=sh $0 fetch $log %f %p" -c recovery_target_timeline=current &
  server=$!
  until [ "$(here -d postgres -c "select $until" 2>/dev/null)" = t ]; do
    kill -0 "$server" 2>/dev/null || return 1
    sleep 1
  done
}

stop() { pg_ctl -D "$1" -s -w -t 3600 -m fast stop; }

# What stands in the Secret holds, whatever it was when the backup was taken.
passwords() {
  here -d postgres -v postgres="$POSTGRES_PASSWORD" -v replica="$REPLICATION_PASSWORD" -v owner="${OWNER_PASSWORD:-}" \
    -v writer="${WRITER_PASSWORD:-}" -v reader="${READER_PASSWORD:-}" <<'SQL'
select format('alter role %I password %L', rolname, word)
from pg_roles join (values ('postgres', :'postgres'), ('millrace_replica', :'replica'), ('millrace_owner', :'owner'),
  ('millrace_writer', :'writer'), ('millrace_reader', :'reader')) known (name, word) on name = rolname
where word <> '' \gexec
SQL
}

restore() {
  wanted=${INSTANT:-the last commit archived}
  if [ -s "$PGDATA/PG_VERSION" ]; then
    [ "$(cat "$PGDATA.restored" 2>/dev/null)" != "$wanted" ] || { say "restored to $wanted before; going on"; exit 0; }
    fail "there is a database on this volume, and none is ever restored over one: delete the volume's claim, or set" \
      "timescaledb.restore.enabled to false"
  fi
  latest=$(echo "${INSTANT:-9}" | tr -d ':-' | sed 's/\..*/Z/')
  set -- -c shared_preload_libraries= -c hot_standby=off "$@"
  [ -z "$INSTANT" ] || set -- "$@" -c "recovery_target_time=${INSTANT%Z}+00" -c recovery_target_action=promote
  for found in $(bases); do
    name=${found##*/}
    # Strings of one form are in the order of the instants.
    [ "$(printf '%s\n%s\n' "$name" "$latest" | LC_ALL=C sort | head -n 1)" = "$name" ] || continue
    if ! unpack "$found" "$PGDATA.new"; then say "base backup $name is damaged; trying the one before"; continue; fi
    # Recovery would take a gap for the end.
    [ -n "$INSTANT" ] || behind=$(gap "$found")
    [ -z "${behind:-}" ] || fail "the archive has a gap behind $behind, of" \
      "$(date -u -r "${found%/base/*}/wal/$behind" +%FT%TZ 2>/dev/null || echo "the base backup"):" \
      "set timescaledb.restore.instant to one before it"
    recover "$PGDATA.new" "${found%/base/*}" "not pg_is_in_recovery()" "$@" || fail "recovery to $wanted has failed; see above"
    passwords
    newest=$(here -d postgres -c 'select pg_last_xact_replay_timestamp()')
    stop "$PGDATA.new"
    echo "$wanted" >"$PGDATA.restored"
    mv "$PGDATA.new" "$PGDATA"
    say "restored to $wanted, which is of $newest"
    exit 0
  done
  fail "no base backup at $ARCHIVE serves $wanted"
}

readings="select (timestamp at time zone 'UTC')::date, count(*), max(timestamp), sum(hash_record_extended(r, 0)::numeric)
  from sensor_data r group by 1 order by 1"

drill() {
  found=$(bases | head -n 1)
  [ -n "$found" ] || fail "there is no base backup"
  pg_verifybackup -q -n "$found" || fail "base backup ${found##*/} is damaged"
  unpack "$found" "$PGDATA"
  trap 'stop "$PGDATA" 2>/dev/null || true' EXIT
  # What commits between snapshot and position is a difference that has gone the next time.
  for attempt in 1 2 3; do
    psql -XAtq -v ON_ERROR_STOP=1 -d "$LIVE" -c 'set statement_timeout = 0' -c 'begin isolation level repeatable read' \
      -c 'select pg_current_wal_lsn()' -c "$readings" -c 'select pg_current_xact_id()' -c commit >/tmp/answer
    position=$(head -n 1 /tmp/answer)
    sed '1d; $d' /tmp/answer >/tmp/live
    for _ in $(seq 60); do
      [ "$(psql -XAtq -d "$LIVE" -c "select restart_lsn > '$position' from pg_replication_slots where slot_name = '$slot'")" != t ] || break
      sleep 5
    done
    recover "$PGDATA" "${found%/base/*}" "pg_get_wal_replay_pause_state() = 'paused'" "$@" \
      -c "recovery_target_lsn=$position" -c recovery_target_inclusive=off -c recovery_target_action=pause ||
      fail "the archive does not lead from base backup ${found##*/} to $position; see above"
    here -d "$DATABASE" -c "$readings" >/tmp/restored
    if cmp -s /tmp/live /tmp/restored; then
      say "base backup ${found##*/} and the log up to $position are the server's readings to the letter:" \
        "$(awk -F '|' '{ rows += $2; if ($3 > newest) newest = $3 } END { print rows + 0, "in", NR, "days, the newest", newest }' /tmp/live)"
      exit 0
    fi
    stop "$PGDATA"
  done
  diff /tmp/live /tmp/restored >&2 || true
  fail "the days above differ: < is the server's, > the backup's"
}

command=$1
shift
"$command" "$@"
