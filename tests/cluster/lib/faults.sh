# What can happen to a node, and the end of it all.
# shellcheck shell=bash

group_processes() { # GROUP ; every process in a control group and those below it
  local each root=/sys/fs/cgroup/pids
  [ -d "$root" ] || root=/sys/fs/cgroup
  [ -d "$root/holdfast/$1" ] || return 0
  find "$root/holdfast/$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

frozen() { # GROUP yes|no ; waits until it is so
  local root=/sys/fs/cgroup/freezer/holdfast/$1 word=THAWED
  if [ -e "$root/freezer.state" ]; then
    [ "$2" = no ] || word=FROZEN
    await 30 "the freezer of $1" freezer_takes "$root/freezer.state" $word
  elif [ -e "/sys/fs/cgroup/holdfast/$1/cgroup.freeze" ]; then
    root=/sys/fs/cgroup/holdfast/$1
    [ "$2" = no ] && echo 0 >"$root/cgroup.freeze" && return
    echo 1 >"$root/cgroup.freeze"
    await 30 "the freezer of $1" grep -q 'frozen 1' "$root/cgroup.events"
  fi
}

# Version 1's freezer has to be told again while processes are being born in it.
freezer_takes() { echo "$2" >"$1" && grep -q "$2" "$1"; }

kill_group() { # GROUP ; until none is left
  local deadline=$((SECONDS + 30)) left
  while left=$(group_processes "$1") && [ -n "$left" ]; do
    [ "$SECONDS" -lt "$deadline" ] || die "processes of $1 can't be killed: $(echo "$left" | xargs)"
    # shellcheck disable=SC2086
    kill -KILL $left 2>/dev/null || true
    # A frozen process dies when it is thawed.
    frozen "$1" no
    sleep 0.05
  done
}

cut_node() { ip link set "hfv$1" down; }
heal_node() { ip link set "hfv$1" up; }

# As if the plug was pulled: first off the network, so that no dying process can still say goodbye.
# (What the kernel holds in memory for its disk stays, as nothing here can make it forget that.)
crash_node() {
  cut_node "$1"
  kill_group "node$1"
  rm -f "$state/run/node$1-"*
}

# A node that comes back after a crash knows nothing of the pods that it had.
restart_node() {
  [ ! -e "$state/run/node$1-kubelet" ] || die "node $1 runs: crash it first"
  local dir=$state/node$1
  unmount "$dir/run/"
  unmount "$dir/kubelet/"
  rm -rf "$dir/run" "$dir/ipam"
  mkdir -p "$dir/run"
  ip -n "hfnode$1" link del cni0 2>/dev/null || true
  heal_node "$1"
  node_processes "$1"
}

unmount() { # PREFIX ; whatever is mounted below it, innermost first
  local each
  while read -r each; do umount -l "$each" || true; done < <(awk -v p="$1" 'index($2, p) == 1 {print $2}' /proc/mounts | sort -r)
}

stop_api() { stop apiserver KILL; }

down() {
  require_root
  local each
  for each in $(seq 1 "$(node_count)"); do
    ip link set "hfv$each" down 2>/dev/null || true
    kill_group "node$each"
  done
  kill_group ""
  unmount "$state/"
  for each in $(ip netns list 2>/dev/null | awk '{print $1}' | grep -E '^hf(node[0-9]+|client)$'); do
    ip netns del "$each"
  done
  # A link outlives its namespace for as long as anything still refers to that.
  for each in $(ip -o link show type veth | sed -n 's/^[0-9]*: \(hfv[0-9c]*\)@.*/\1/p'); do
    ip link del "$each" 2>/dev/null || true
  done
  ip link del "$bridge" 2>/dev/null || true
  iptables -w -D FORWARD -i "$bridge" -o "$bridge" -j ACCEPT 2>/dev/null || true
  find /sys/fs/cgroup/holdfast /sys/fs/cgroup/*/holdfast -depth -type d -exec rmdir {} + 2>/dev/null || true
  rm -rf /etc/netns/hfclient "$state"
}
