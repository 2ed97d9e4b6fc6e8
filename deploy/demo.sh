#!/bin/bash
# Demonstrates the main use on one machine: installs missing packages, builds, and connects pods on two nodes (network
# namespaces, an agent each) and a real VDE member on a third.
#
#   deploy/demo.sh           runs the demonstration, and removes everything
#   deploy/demo.sh --keep    leaves it running, and prints commands to try
#   deploy/demo.sh --clean   removes the leftovers of --keep
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

case ${1:-} in
  --clean) exec tests/py.sh deploy/demo.py --clean ;;
  "" | --keep) ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || { echo "demo: run this as root" >&2; exit 1; }
echo "== 1. Missing packages"
deploy/setup.sh
echo "== 2. Build"
bazel build -c opt --show_result=0 //agent:vxvde-agent //agent:vxvdectl //cni:vxvde
exec tests/py.sh deploy/demo.py "$@"
