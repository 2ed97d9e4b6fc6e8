#!/bin/bash
# Builds the image of deploy/kubernetes with podman.
#
#   deploy/image/build.sh [--base IMAGE | --local-base] [--save FILE] [NAME]
#
# NAME          default localhost/vxvde:VERSION, as in deploy/kubernetes
# --base IMAGE  a Debian 12 to build on; default docker.io/library/debian:12-slim
# --local-base  builds that Debian with mmdebstrap instead, from this machine's own apt sources, without a registry
# --save FILE   also writes the image to FILE, for `ctr -n k8s.io images import FILE` on each node
set -euo pipefail
cd "$(dirname "$0")/../.."

version=$(sed -n 's/.*kVersion\[\] = "\(.*\)".*/\1/p' plugin/base/version.h)
name=localhost/vxvde:$version base=docker.io/library/debian:12-slim save=
while [ $# -gt 0 ]; do
  case $1 in
    --base) base=$2; shift ;;
    --local-base) base=localhost/debian:12 ;;
    --save) save=$2; shift ;;
    -*) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) name=$1 ;;
  esac
  shift
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ "$base" = localhost/debian:12 ] && ! podman image exists "$base"; then
  sources=/etc/apt/sources.list.d/debian.sources
  [ -e "$sources" ] || sources=/etc/apt/sources.list
  mmdebstrap --variant=apt --mode=root \
    --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    bookworm "$work/base.tar" "$sources"
  podman import "$work/base.tar" "$base"
  rm "$work/base.tar"
fi

bazel build -c opt --show_result=0 //agent:vxvde-agent //agent:vxvdectl //cni:vxvde
install -m 755 bazel-bin/agent/vxvde-agent bazel-bin/agent/vxvdectl bazel-bin/cni/vxvde deploy/image/vxvde-node "$work"
strip "$work"/vxvde-agent "$work"/vxvdectl "$work"/vxvde
# chroot: the build needs neither a container runtime nor cgroups.
podman build --isolation chroot --network host --build-arg "BASE=$base" --tag "$name" \
  --file deploy/image/Containerfile "$work"
podman image inspect --format "$name: {{.Size}} bytes" "$name"
if [ -n "$save" ]; then
  rm -f "$save"
  podman save --quiet --output "$save" "$name"
fi
