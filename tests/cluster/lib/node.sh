# A node: a network namespace on the bridge with its own containerd, kubelet and kube-proxy.
# shellcheck shell=bash

namespace() { # NAME ADDRESS LINK ; a namespace on the bridge, with routes to the pods of all nodes
  local ns=$1 ip=$2 link=$3 other
  ip netns add "$ns"
  ip link add "$link" type veth peer name eth0 netns "$ns"
  ip link set "$link" master "$bridge" up
  ip -n "$ns" link set lo up
  ip -n "$ns" addr add "$ip/24" dev eth0
  ip -n "$ns" link set eth0 up
  # Only so that addresses of Services, which are translated on the way out, have a route at all.
  ip -n "$ns" route add default via "$net.1"
  nsenter --net="/run/netns/$ns" sysctl -qw net.ipv4.ip_forward=1
  for other in $(seq 1 "$nodes"); do
    [ "$ip" = "$net.$((10 + other))" ] || ip -n "$ns" route replace "$pods.$other.0/24" via "$net.$((10 + other))"
  done
}

node_cgroups() { # N ; what the kubelet expects to find
  local n=$1 c root=/sys/fs/cgroup
  if [ -e "$root/cgroup.controllers" ]; then
    for c in "$root" "$root/holdfast" "$root/holdfast/node$n"; do
      mkdir -p "$c"
      # shellcheck disable=SC2013
      for each in $(cat "$c/cgroup.controllers"); do echo "+$each" >"$c/cgroup.subtree_control" 2>/dev/null || true; done
    done
    return
  fi
  for c in cpu cpuacct cpuset memory pids devices freezer blkio hugetlb systemd; do
    [ ! -d "$root/$c" ] || mkdir -p "$root/$c/holdfast/node$n"
  done
  for c in "$root/cpuset/holdfast" "$root/cpuset/holdfast/node$n"; do
    [ ! -d "$c" ] || { cat "$root/cpuset/cpuset.cpus" >"$c/cpuset.cpus"; cat "$root/cpuset/cpuset.mems" >"$c/cpuset.mems"; }
  done
}

node_files() { # N
  local n=$1 dir=$state/node$1 ip=$net.$((10 + $1))
  mkdir -p "$dir"/{cni,run,kubelet,etc}
  cat >"$dir/cni/10-bridge.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$dir/ipam", "ranges": [[{"subnet": "$pods.$n.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
  cat >"$dir/containerd.toml" <<TOML
version = 2
root = "$dir/containerd"
state = "$dir/run/containerd"
[grpc]
  address = "$dir/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "local/pause:1"
  stream_server_address = "$ip"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
TOML
  cat >"$dir/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $ip
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $pki/node$n.crt
tlsPrivateKeyFile: $pki/node$n.key
cgroupDriver: cgroupfs
cgroupRoot: /holdfast/node$n
cgroupsPerQOS: true
failCgroupV1: false
failSwapOn: false
clusterDNS: [$service_dns]
clusterDomain: cluster.local
resolvConf: $state/resolv.conf
containerRuntimeEndpoint: unix://$dir/run/containerd.sock
evictionHard: {memory.available: 50Mi}
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 10
imageGCHighThresholdPercent: 100
maxPods: 200
podLogsDir: $dir/podlogs
YAML
}

node() { # N
  local n=$1 ip=$net.$((10 + $1))
  namespace "hfnode$n" "$ip" "hfv$n"
  ip route replace "$pods.$n.0/24" via "$ip"
  node_cgroups "$n"
  node_files "$n"
  certificate "node$n" "/O=system:nodes/CN=system:node:node$n" "IP:$ip,DNS:node$n"
  user "kubelet$n" "/O=system:nodes/CN=system:node:node$n"
  node_processes "$n"
}

node_processes() { # N
  local n=$1 in="nsenter --net=/run/netns/hfnode$1" dir=$state/node$1
  # shellcheck disable=SC2086
  start "node$n-containerd" $in containerd --config "$dir/containerd.toml"
  await 60 "containerd of node $n" ctr --address "$dir/run/containerd.sock" version
  ctr --address "$dir/run/containerd.sock" -n k8s.io images ls -q | grep -q local/pause || load_on "$n" "$state/pause.tar"
  # shellcheck disable=SC2086
  start "node$n-kubelet" $in "$bin/kubelet" --config "$dir/kubelet.yaml" --kubeconfig "$state/kubelet$n.kubeconfig" \
    --hostname-override "node$n" --root-dir "$dir/kubelet" --node-ip "$net.$((10 + n))" --cert-dir "$dir/etc"
  # shellcheck disable=SC2086
  start "node$n-proxy" $in "$bin/kube-proxy" --kubeconfig "$state/proxy.kubeconfig" --hostname-override "node$n" \
    --proxy-mode iptables --cluster-cidr "$pods.0.0/16" --conntrack-max-per-core 0 --nodeport-addresses primary
}

load_on() { # N ARCHIVE
  ctr --address "$state/node$1/run/containerd.sock" -n k8s.io images import "$2" >/dev/null
}

load() { # ARCHIVE
  local n
  for n in $(seq 1 "$(node_count)"); do load_on "$n" "$1"; done
}

# A place in the cluster's network that no fault of a node touches, for clients under test: it has
# Services (kube-proxy) and names (DNS) as a pod has, but no kubelet.
client() {
  local in="nsenter --net=/run/netns/hfclient"
  namespace hfclient "$net.9" hfvc
  mkdir -p /etc/netns/hfclient
  printf 'nameserver 127.0.0.1\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5 timeout:1\n' \
    >/etc/netns/hfclient/resolv.conf
  cat >"$state/Corefile" <<CORE
.:53 {
  errors
  cache 1
  kubernetes cluster.local {
    kubeconfig $state/dns.kubeconfig
  }
}
CORE
  # shellcheck disable=SC2086
  start client-dns $in "$bin/dns" -conf "$state/Corefile"
  # It stands in for node 1, whose address it only reads, because there is no Node of its own.
  # shellcheck disable=SC2086
  start client-proxy $in "$bin/kube-proxy" --kubeconfig "$state/proxy.kubeconfig" --hostname-override node1 \
    --proxy-mode iptables --cluster-cidr "$pods.0.0/16" --conntrack-max-per-core 0 --nodeport-addresses primary
}
