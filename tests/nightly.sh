#!/bin/bash
# Runs the tests that tests/run.sh leaves out, one after the other, and records date, versions and result of each in
# docs/COMPATIBILITY.md. Exit 1 if any fails. Root, Debian 12; installs missing packages first. A night's work.
#
#   tests/nightly.sh [--only STEP]... [--kubernetes BINARIES]
#
# A step is a target of //tests with the tag "manual", by its name, or containerd-trixie, containerd-sid, kubernetes (with
# the folder that tests/kubernetes needs), previous (with $VXVDE_PREVIOUS), clang, fuzz, faults or soak ($SOAK_CYCLES).
# A step that cannot run here is not recorded. Logs are in nightly-logs/.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  exit 2
}

only=() kubernetes=
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case $1 in
    --only) only+=("$2") ;;
    --kubernetes) kubernetes=$(realpath "$2") || exit 2 ;;
    *) usage ;;
  esac
  shift 2
done

deploy/setup.sh || exit 1
targets=$(bazel query 'kind(".*_test rule", attr(tags, "\bmanual\b", //tests/...))' 2>/dev/null) || exit 1
mkdir -p nightly-logs
passed=() failed=() skipped=()

# step NAME ENTRY COMMAND...: runs the command, if it was selected, and records it as ENTRY. Lines "[ WITH ] PROGRAM VERSION"
# of its output are the versions, and a line "[ SKIP ]" means that it could not run (tests/lib/runner.py).
step() {
  local name=$1 entry=$2 log=nightly-logs/$1.log result=passed
  shift 2
  if [ ${#only[@]} -gt 0 ] && [[ " ${only[*]} " != *" $name "* ]]; then
    return
  fi
  echo "==== $name ($(date +%T))"
  "$@" >"$log" 2>&1 </dev/null || result=failed
  if grep -q '^\[ SKIP \] ' "$log"; then
    skipped+=("$name")
    return
  fi
  if [ $result = passed ]; then passed+=("$name"); else failed+=("$name"); fi
  local versions
  versions=$({ uname -r | sed -E 's/^([0-9]+\.[0-9]+).*/Linux \1/'; sed -n 's/^\[ WITH \] //p' "$log" | sort -u; } | paste -sd, | sed 's/,/, /g')
  /usr/bin/python3 tests/lib/nightly_table.py docs/COMPATIBILITY.md "$entry" "$(date +%F)" "$versions" "$result" ||
    failed+=("$name (not recorded)")
}

# Programs that tests/py.sh finds in bazel-bin.
script() {
  bazel build //cni:vxvde //agent:vxvde-agent //agent:vxvdectl //tests:fault_at && tests/py.sh "$@"
}

clang() {
  echo "[ WITH ] clang $(clang-14 -dumpversion)"
  bazel build --config=clang //...
}

fuzz() {
  echo "[ WITH ] clang $(clang-14 -dumpversion)"
  tools/fuzz.sh 60
}

soak() {
  SOAK_CYCLES=${SOAK_CYCLES:-10000} script tests/lifecycle/soak_test.py
}

for target in $targets; do
  step "${target##*:}" "\`$target\`" bazel test --nocache_test_results --test_output=all "$target"
done
for suite in trixie sid; do
  step "containerd-$suite" "containerd of $suite" script tests/runtimes/containerd_test.py "$suite"
done
[ -z "$kubernetes" ] || step kubernetes '`tests/kubernetes`' tests/kubernetes "$kubernetes"
[ -z "${VXVDE_PREVIOUS:-}" ] || step previous '`tests/lifecycle/previous_test.py`' script tests/lifecycle/previous_test.py
step clang '`bazel build --config=clang //...`' clang
step fuzz '`tools/fuzz.sh 60`' fuzz
step faults '`tests/lifecycle/faults_test.py --all`' script tests/lifecycle/faults_test.py --all
step soak '`tests/lifecycle/soak_test.py`' soak

[ ${#skipped[@]} -eq 0 ] || echo "SKIPPED, NOT TESTED: ${skipped[*]}"
[ ${#failed[@]} -eq 0 ] || echo "failed: ${failed[*]}"
echo "${#passed[@]} passed, ${#failed[@]} failed, ${#skipped[@]} skipped"
[ ${#passed[@]} -gt 0 ] && [ ${#failed[@]} -eq 0 ]
