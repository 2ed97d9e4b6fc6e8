#!/bin/sh
# Builds the programs and measures them: bash tests/bench/run.sh [--quick] [--out FILE]; datapath.py has the details.
# bash tests/bench/run.sh --scale [--out FILE]: many pods, clouds and stations on one node; scale.py has the details.
cd "$(dirname "$0")/../.." || exit 1
bazel build -c opt --noshow_progress --ui_event_filters=-info,-stdout,-stderr \
  //agent:vxvde-agent //agent:vxvdectl //cni:vxvde //tests:traffic //tests:tap_relay //tests:hostile //tests/bench:core_bench || exit 1
program=datapath
[ "$1" != --scale ] || { program=scale; shift; }
exec sh tests/py.sh tests/bench/$program.py "$@"
