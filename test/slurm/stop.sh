#!/usr/bin/env bash
# stop.sh DIR: ends the daemons that start.sh DIR has started, and waits for their end.
for daemon in slurmd slurmctld munged; do
  pid=$(cat "$1/$daemon.pid" 2> /dev/null) || continue
  kill "$pid" 2> /dev/null || continue
  for _ in $(seq 100); do
    if ! kill -0 "$pid" 2> /dev/null; then break; fi
    sleep 0.1
  done
done
