#!/bin/bash
# The main job, shown on one machine: installs what is missing, builds, and lets pods on two nodes (network
# namespaces, an agent each) and a real VDE member on a third talk to each other.
#
#   deploy/demo.sh           shows it, and removes everything
#   deploy/demo.sh --keep    leaves it running, and says what to type
#   deploy/demo.sh --clean   removes what --keep left
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

case ${1:-} in
  --clean) exec tests/py.sh deploy/demo.py --clean ;;
  "" | --keep) ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || { echo "demo: run this as root" >&2; exit 1; }
echo "== 1. What is missing"
deploy/setup.sh
echo "== 2. Build"
bazel build -c opt --show_result=0 //agent:vxvde-agent //agent:vxvdectl //cni:vxvde
exec tests/py.sh deploy/demo.py "$@"
