# What everything here agrees on: versions, addresses and directories.
# shellcheck shell=bash disable=SC2034

kubernetes=1.34.4
bridge=hfbr0
net=10.200.0             # $net.1 is the control plane, $net.9 the client, $net.10+N node N
pods=10.244              # pods of node N are in $pods.N.0/24
services=10.96.0.0/16
service_api=10.96.0.1
service_dns=10.96.0.10
volumes_per_node=24      # a released one is not used again
volume_size=20Gi

state=${CLUSTER_STATE:-/var/lib/holdfast-cluster}
kubeconfig=$state/admin.kubeconfig
pki=$state/pki

# Binaries are kept with the checkout. A copy stays in the user's cache, so that another checkout,
# such as the next run of continuous integration, does not build them again.
bin=${CLUSTER_BIN:-$here/../../.cache/cluster/bin}
mkdir -p "$bin"
bin=$(cd "$bin" && pwd)
shared=${XDG_CACHE_HOME:-$HOME/.cache}/holdfast-cluster/bin

say() { printf 'cluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
require_root() { [ "$(id -u)" = 0 ] || die "needs root, for namespaces, mounts and iptables: use sudo"; }
require_up() { [ -e "$state/nodes" ] || die "no cluster is up: run 'cluster up' first"; }
node_count() { cat "$state/nodes" 2>/dev/null || echo 0; }
# The number of a node, checked, so that a slip of the pen reaches no other process.
node_number() {
  require_up
  [[ ${1:-} =~ ^[1-9][0-9]*$ ]] && [ "$1" -le "$(node_count)" ] || die "'${1:-}' is no node: there are 1 to $(node_count)"
}
k() { "$bin/kubectl" --kubeconfig "$kubeconfig" "$@"; }

await() { # SECONDS WHAT COMMAND... ; waits until the command succeeds
  local deadline=$((SECONDS + $1)) what=$2 bound=$1; shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || die "$what did not come up within $bound s; see $state/log"
    sleep 0.2
  done
}
