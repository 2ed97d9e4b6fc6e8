#!/bin/bash
# Fuzzes each target for some seconds, from its corpus: tools/fuzz.sh [--keep] [--jobs N] [SECONDS [TARGET...]]
# Default: 60 s, all targets, one at a time. An input that crashes a target is kept in ./crash-* and makes the script fail.
#
# --keep     adds inputs that reach new code to the archive in the tree (corpus/STEM.tar.gz)
# --jobs N   N targets at a time
set -euo pipefail
cd "$(dirname "$0")/.."
keep= jobs=1
while [ $# -gt 0 ]; do
  case $1 in
    --keep) keep=yes ;;
    --jobs) jobs=$2; shift ;;
    -*) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) break ;;
  esac
  shift
done
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(bazel query 'attr(tags, "\bfuzz\b", kind(cc_binary, //...))' 2>/dev/null)
bazel build --config=fuzz "${targets[@]}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fuzz() {
  local target=$1 status=0
  local room=${target#//} name=${target##*:}
  room=${room%:*}
  local seeds=$room/corpus/${name%_fuzz}
  local archive=$seeds.tar.gz found=$scratch/$name/found
  mkdir -p "$scratch/$name/new" "$found" "$seeds"
  [ ! -f "$archive" ] || tar -xzf "$archive" -C "$found"
  "bazel-bin/$room/$name" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 "$scratch/$name/new" "$seeds" "$found" \
    >"$scratch/$name/log" 2>&1 || status=$?
  if [ -n "$keep" ] && [ $status -eq 0 ]; then
    "bazel-bin/$room/$name" -merge=1 -use_counters=0 "$found" "$seeds" "$scratch/$name/new" >>"$scratch/$name/log" 2>&1 || status=$?
    # The same bytes for the same inputs, so that an unchanged corpus is an unchanged archive.
    (cd "$found" && ls) | tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0644 -C "$found" \
      -cf - -T - | gzip -n9 >"$archive"
  fi
  echo "==== $target, $seconds s: $([ $status -eq 0 ] && echo ok || echo "FAILED, exit $status")"
  if [ $status -eq 0 ]; then
    grep -E 'number_of_executed_units|new_units_added|new files with' "$scratch/$name/log" || true
  else
    tail -n 30 "$scratch/$name/log"
  fi
  return $status
}
export -f fuzz
export seconds scratch keep
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'fuzz {}'
