#!/bin/sh
# One of several servers of the stream, of which one is the primary, and its Sentinel. $NODE is this node's name, $NODES
# those of all, $PASSWORD the one of all users. Roles and what the Sentinels have found out stay on the node's volume.
#
#   server COMMAND OPTION...   find out whom to follow, and become the server, with these options
#   sentinel COMMAND           become the Sentinel
set -eu
umask 077
first=${NODES%% *}
conf=/data/node.conf

say() { echo "node: $*" >&2; }

# Print the epoch, the number of known replicas and the primary, as the Sentinel of another node that knows most tells.
known() {
  for node in $NODES; do
    [ "$node" = "$NODE" ] || timeout 3 redis-cli -h "$node" -p 26379 sentinel master millrace 2>/dev/null | awk '
      NR % 2 { name = $0; next } { of[name] = $0 }
      END { if ("ip" in of) print of["config-epoch"], of["num-slaves"], of["ip"] }'
  done | sort -n | tail -n 1
}

# Print whom to follow, nothing where this node is the primary. One without data must not become the primary of others:
# they would copy its emptiness. So it waits until they have chosen another, or say that nobody has ever followed it.
leader() {
  while :; do
    set -- $(known)
    if [ $# = 3 ]; then
      if [ "$3" != "$NODE" ]; then echo "$3"; return; fi
      if [ -d /data/appendonlydir ] || [ "$2" = 0 ]; then return; fi
      say "this volume is empty; waiting until the Sentinels choose another primary"
    elif [ -s "$conf" ]; then
      say "no Sentinel answers; going on as before"
      sed -n 's/^replicaof \([^ ]*\) .*/\1/p' "$conf" | tr -d '"'
      return
    elif [ "$NODE" != "$first" ]; then
      echo "$first"; return
    else
      say "waiting for a Sentinel of another node"
    fi
    sleep 1
  done
}

case $1 in
  server)
    shift
    leader=$(leader)
    say "the primary is ${leader:-this node}"
    {
      echo "replica-announce-ip $NODE"
      echo "masteruser replication"
      echo "masterauth $PASSWORD"
      if [ -n "$leader" ]; then echo "replicaof $leader 6379"; fi
    } >"$conf"
    command=$1
    shift
    exec "$command" "$conf" "$@"
    ;;
  sentinel)
    own=/data/sentinel.conf
    if [ ! -s "$own" ]; then
      set -- "$2" $(known)
      primary=${4:-$first}
      # A Sentinel ends where it cannot find whom to watch.
      until getent hosts "$primary" >/dev/null; do sleep 1; done
      cat >"$own" <<END
port 26379
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $NODE
sentinel monitor millrace $primary 6379 $QUORUM
sentinel auth-user millrace replication
sentinel down-after-milliseconds millrace 5000
sentinel failover-timeout millrace 20000
END
    else
      set -- "$2"
    fi
    sed -i '/^sentinel auth-pass /d; /^sentinel sentinel-pass /d; /^requirepass /d' "$own"
    cat >>"$own" <<END
requirepass $PASSWORD
sentinel sentinel-pass $PASSWORD
sentinel auth-pass millrace $PASSWORD
END
    exec "$1" "$own" --sentinel
    ;;
esac
