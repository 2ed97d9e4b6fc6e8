#!/bin/bash
# Installs the missing packages for building, testing and the demonstration. Debian 12, root.
set -euo pipefail

build=(
  bazel-bootstrap g++ clang-14 libclang-rt-14-dev bpftool protobuf-compiler protobuf-compiler-grpc
  libabsl-dev libbenchmark-dev libbpf-dev libcap-dev libcli11-dev libelf-dev libgmock-dev libgrpc++-dev libgtest-dev libmnl-dev
  libnftnl-dev libnl-route-3-dev libprotobuf-dev libseccomp-dev libspdlog-dev libsystemd-dev libyaml-cpp-dev nlohmann-json3-dev prometheus-cpp-dev zlib1g-dev
)
# Real members, traffic generators and runtimes for the tests and the demonstration.
play=(
  vdeplug vdens iproute2 ethtool iputils-ping iperf3 tcpdump procps mount util-linux
  containernetworking-plugins podman crun uidmap slirp4netns containerd runc busybox-static iptables nftables
  python3 python3-grpcio python3-protobuf curl jq openssl
)

missing=()
for package in "${build[@]}" "${play[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: no package is missing"
  exit 0
fi
echo "setup: installing ${missing[*]}"
if [ "$(id -u)" != 0 ]; then
  echo "setup: run this as root" >&2
  exit 1
fi
# Images without manual pages lack this folder, and the Java of bazel-bootstrap then fails to install.
mkdir -p /usr/share/man/man1
install_missing() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}"
}
# Updates the package lists only if they are missing or too old to fetch from.
if ! apt-cache show "${missing[@]}" >/dev/null 2>&1 || ! install_missing; then
  apt-get update -q
  install_missing
fi
