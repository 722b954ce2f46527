# The control plane: its certificates and processes, on the bridge's own address.
# shellcheck shell=bash

authority() {
  mkdir -p "$pki"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=holdfast-cluster \
    -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/sa.key" 2>/dev/null
  openssl ec -in "$pki/sa.key" -pubout -out "$pki/sa.pub" 2>/dev/null
}

certificate() { # NAME SUBJECT [ALTERNATIVE NAMES]
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" \
    -keyout "$pki/$1.key" -out "$pki/$1.csr" 2>/dev/null
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 30 -out "$pki/$1.crt" \
    -extfile <(printf 'extendedKeyUsage=clientAuth,serverAuth\n%s\n' "${3:+subjectAltName=$3}") 2>/dev/null
}

user() { # NAME SUBJECT ; into $state/NAME.kubeconfig
  certificate "$1" "$2"
  local file=$state/$1.kubeconfig
  cat >"$file" <<YAML
apiVersion: v1
kind: Config
current-context: local
clusters: [{name: local, cluster: {server: "https://$net.1:6443", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$pki/$1.crt"), client-key-data: $(base64 -w0 "$pki/$1.key")}}]
contexts: [{name: local, context: {cluster: local, user: $1}}]
YAML
  chmod 600 "$file"
}

users() {
  authority
  certificate apiserver /CN=apiserver \
    "IP:$net.1,IP:$service_api,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  user admin "/O=system:masters/CN=admin"
  user kcm /CN=system:kube-controller-manager
  user scheduler /CN=system:kube-scheduler
  user proxy /CN=system:kube-proxy
  user dns /CN=dns
}

start() { # NAME COMMAND... ; its output in $state/log/NAME, its pid in $state/run/NAME
  local name=$1 group=control; shift
  mkdir -p "$state/log" "$state/run"
  case $name in node*) group=${name%%-*}/host ;; esac
  setsid "$here/lib/enter-cgroup" "holdfast/$group" "$@" >>"$state/log/$name" 2>&1 </dev/null &
  echo $! >"$state/run/$name"
}

stop() { # NAME [SIGNAL] ; unless the number has become another process's, as after a reboot
  local file=$state/run/$1 pid
  [ -f "$file" ] || return 0
  pid=$(cat "$file")
  grep -qs /holdfast/ "/proc/$pid/cgroup" && kill -"${2:-TERM}" "$pid" 2>/dev/null
  rm -f "$file"
}

start_etcd() {
  start etcd "$bin/etcd" --data-dir "$state/etcd" --log-level warn \
    --listen-client-urls "http://$net.1:2379" --advertise-client-urls "http://$net.1:2379" \
    --listen-peer-urls "http://$net.1:2380" --initial-advertise-peer-urls "http://$net.1:2380" \
    --initial-cluster "default=http://$net.1:2380"
}

start_api() {
  # What the pods' service accounts ask for, so that tests can count calls, and see what was refused.
  mkdir -p "$state/log"
  cat >"$state/audit.yaml" <<YAML
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
- {level: Metadata, userGroups: ["system:serviceaccounts"]}
- {level: None}
YAML
  start apiserver "$bin/kube-apiserver" --etcd-servers="http://$net.1:2379" \
    --bind-address="$net.1" --advertise-address="$net.1" --secure-port=6443 \
    --service-cluster-ip-range=$services --authorization-mode=Node,RBAC --allow-privileged=true --profiling=false \
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --kubelet-preferred-address-types=InternalIP --kubelet-certificate-authority="$pki/ca.crt" \
    --kubelet-client-certificate="$pki/apiserver.crt" --kubelet-client-key="$pki/apiserver.key" \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --audit-policy-file="$state/audit.yaml" --audit-log-path="$state/log/audit" --audit-log-maxsize=500 \
    --requestheader-client-ca-file="$pki/ca.crt" --requestheader-allowed-names= \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra-
  await 120 "the API server" k get --raw /readyz
}

start_controllers() {
  local own="--bind-address=$net.1 --leader-elect=false"
  # Nodes are found dead sooner than by default (50 s), so that tests needn't wait for it.
  # shellcheck disable=SC2086
  start kcm "$bin/kube-controller-manager" $own $(kubeconfigs kcm) --use-service-account-credentials \
    --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" \
    --node-monitor-period=1s --node-monitor-grace-period=10s --enable-hostpath-provisioner
  # shellcheck disable=SC2086
  start scheduler "$bin/kube-scheduler" $own $(kubeconfigs scheduler)
}

kubeconfigs() { # NAME ; the three flags that a controller wants it in
  local flag
  for flag in kubeconfig authentication-kubeconfig authorization-kubeconfig; do
    printf -- '--%s=%s ' "$flag" "$state/$1.kubeconfig"
  done
}

network() {
  ip link add "$bridge" type bridge
  ip addr add "$net.1/24" dev "$bridge"
  ip link set "$bridge" up
  # Where bridged packets pass the firewall, it may be set to drop what it does not know.
  iptables -w -I FORWARD -i "$bridge" -o "$bridge" -j ACCEPT
}

control_plane() {
  network
  start_etcd
  start_api
  start_controllers
}
