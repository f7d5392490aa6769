#!/usr/bin/env bash
# start.sh DIR: a Slurm of one node below DIR, without systemd. Needs root, and Debian's slurm-wlm and munge. Afterwards
# SLURM_CONF=DIR/slurm.conf reaches it; stop.sh DIR ends it.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
mkdir -p "$1"/{state,spool,log}
dir=$(realpath "$1")
node=$(hostname -s)
sed -e "s|@DIR@|$dir|" -e "s|@NODE@|$node|" "$here/slurm.conf.in" > "$dir/slurm.conf"
if ! munge -n > /dev/null 2>&1; then
  [ -s /etc/munge/munge.key ] || /usr/sbin/mungekey --create
  install -d -o munge -g munge /run/munge
  chown munge:munge /etc/munge/munge.key
  su -s /bin/sh munge -c '/usr/sbin/munged --force'
  cp /run/munge/munged.pid "$dir/munged.pid"
fi
export SLURM_CONF="$dir/slurm.conf"
/usr/sbin/slurmctld
# Until the controller answers, a node's daemon would give up.
for _ in $(seq 60); do
  if scontrol ping 2> /dev/null | grep -q 'is UP'; then break; fi
  sleep 0.5
done
/usr/sbin/slurmd
for _ in $(seq 60); do
  if sinfo --noheader --format=%t 2> /dev/null | grep -q idle; then exit 0; fi
  sleep 0.5
done
echo 'Slurm has no idle node after half a minute; the ends of its logs:' >&2
tail -n 20 "$dir"/log/* >&2
exit 1
