#!/bin/bash
# Runs all tests, prints "N passed, N failed", and names those that could not run here: unit, fuzz replay and integration
# tests as built for use, then the unit tests again under the sanitizers. Root, Debian 12; installs missing packages first.
#
#   tests/run.sh                     everything
#   tests/run.sh --quick             no sanitizers
#   tests/run.sh -- BAZEL_OPTION...  passed to each `bazel test`
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

quick=false
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=true ;;
    --) shift; break ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift
done

deploy/setup.sh || exit 1

events=$(mktemp -d)
trap 'rm -rf "$events"' EXIT
status=0
bazel=(bazel)

# pass NAME OPTION... TARGET...: one bazel run, whose build events are counted at the end.
pass() {
  local name=$1
  shift
  echo "==== $name ($(date +%T))"
  "${bazel[@]}" test --build_event_json_file="$events/$name.json" --noshow_progress --keep_going --test_summary=terse "$@"
  local code=$?
  [ $code -eq 0 ] || echo "==== $name: bazel exit $code"
  return $code
}

# The targets for sanitizers: all rooms, their fuzz corpora, and the tests that create namespaces,
# but not whole programs.
rooms=(//plugin/... //agent/... //cni/... //tests/fuzz/...)
# Rooms with threads; everything else runs on one.
threaded=(//plugin:all //plugin/os/... //agent/...)

# Compiled and run on a Bazel server of their own, at the lowest priority, hence the longer limits.
output_base=$(bazel info output_base)  # now: it waits for other commands of that server
sanitizers() {
  local failed=0
  bazel=(nice -n 19 bazel "--output_base=$output_base-sanitizers")
  # bazel-bin and its like stay those of the programs as built for use.
  local options=(--symlink_prefix=/ --build_tests_only --test_timeout=300,900,1800,3600 "$@")
  pass asan-ubsan --config=asan --config=ubsan "${options[@]}" "${rooms[@]}" || failed=1
  pass tsan --config=tsan "${options[@]}" "${threaded[@]}" || failed=1
  "${bazel[@]}" shutdown
  return $failed
}

echo "==== build ($(date +%T))"
bazel build --noshow_progress --keep_going "$@" //... || status=1
if ! $quick; then
  # Integration tests run one at a time and mostly wait: the processors are free for this.
  sanitizers "$@" >"$events/sanitizers.log" 2>&1 &
fi
pass everything "$@" //... || status=1
if ! $quick; then
  wait $! || status=1
  cat "$events/sanitizers.log"
fi

/usr/bin/python3 tests/lib/count.py "$events"/*.json || status=1
exit $status
