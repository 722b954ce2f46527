# Provides the programs: Debian's packages, and Kubernetes' own from Go modules.
# shellcheck shell=bash

# What one has to be able to call, and the package of Debian 12 that brings it.
needed='containerd:containerd runc:runc iptables:iptables ip:iproute2 conntrack:conntrack nsenter:util-linux
  ethtool:ethtool openssl:openssl python3:python3-minimal git:git ca-certificates:ca-certificates'

packages() {
  local missing=() pair
  for pair in $needed; do
    case $pair in
      ca-certificates:*) [ -e /etc/ssl/certs/ca-certificates.crt ] ;;
      *) command -v "${pair%%:*}" ;;
    esac >/dev/null 2>&1 || missing+=("${pair##*:}")
  done
  [ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
  [ ${#missing[@]} -gt 0 ] || return 0
  require_root
  "$here/../apt-install" "${missing[@]}"
}

flags() { # GROUP ; what is told to the linker
  local at=k8s.io/component-base/version helm_at=helm.sh/helm/v3/pkg/chartutil minor=${kubernetes:2:2}
  case $1 in
    control) echo "-X $at.gitVersion=v$kubernetes -X $at.gitMajor=1 -X $at.gitMinor=$minor" ;;
    # Helm judges charts by this version where it knows no cluster.
    helm) echo "-X $helm_at.k8sVersionMajor=1 -X $helm_at.k8sVersionMinor=$minor" ;;
  esac
}

stamp_of() { # GROUP ; changes with whatever would make another binary
  { flags "$1"; find "$here/$1" -type f | LC_ALL=C sort | xargs cat; } | sha256sum | cut -c1-16
}

build_group() { # GROUP ; into $bin
  local go packages=tool
  [ "$1" != node ] || packages="./dns ./pause"
  go=$("$here/usable-go")
  say "building $1 from Go modules"
  # shellcheck disable=SC2086
  (cd "$here/$1" && env -u GOROOT CGO_ENABLED=0 "$go" build -trimpath -ldflags "-s -w $(flags "$1")" -o "$bin/" $packages)
  [ "$1" != control ] || mv "$bin/server" "$bin/etcd"
}

members() { # GROUP ; the binaries of a group
  case $1 in
    control) echo etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl ;;
    node) echo dns pause ;;
    helm) echo helm ;;
  esac
}

provide() { # GROUP ; from $bin, else from the user's cache, else built
  local group=$1 stamp name
  stamp=.$group-$(stamp_of "$group")
  [ -e "$bin/$stamp" ] && return
  if [ -e "$shared/$stamp" ]; then
    for name in $(members "$group"); do cp -f "$shared/$name" "$bin/$name"; done
  else
    build_group "$group"
    if [ "$bin" != "$shared" ] && mkdir -p "$shared" 2>/dev/null; then
      rm -f "$shared/.$group-"*
      for name in $(members "$group"); do cp -f "$bin/$name" "$shared/$name"; done
      touch "$shared/$stamp"
    fi
  fi
  rm -f "$bin/.$group-"*
  touch "$bin/$stamp"
}

build() {
  packages
  [ -e "$bin/kubelet" ] || [ -e "$shared/kubelet" ] || say "the control plane takes some 25 CPU minutes the first time"
  provide control
  provide node
  provide helm
}
