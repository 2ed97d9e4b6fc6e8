#!/bin/bash
# Fuzzes each target for some seconds, from its corpus: tools/fuzz.sh [SECONDS [TARGET...]]
# Default: 60 s, all targets. What it finds is kept in ./crash-* and makes it fail.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(bazel query 'attr(tags, "\bfuzz\b", kind(cc_binary, //...))' 2>/dev/null)
bazel build --config=fuzz "${targets[@]}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for target in "${targets[@]}"; do
  room=${target#//} name=${target##*:}
  room=${room%:*}
  echo "==== $target, $seconds s"
  mkdir "$scratch/$name"
  corpus=("$scratch/$name")
  for folder in "$room/corpus/$name" "$room/corpus/${name%_fuzz}"; do
    [ ! -d "$folder" ] || corpus+=("$folder")
  done
  "bazel-bin/$room/$name" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 "${corpus[@]}" 2>&1 | tail -n 12
done
