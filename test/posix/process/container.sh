#!/bin/bash
# Runs a script in a mount namespace in which containers can be started: `container.sh FILE [ARGUMENT…]`, where FILE has
# the lines. crun wants control groups of one version, also if it does not use them.
set -eu
exec unshare --mount --propagation private bash -euc '
  umount -R /sys/fs/cgroup 2>/dev/null || true
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  . "$@"' container "$@"
