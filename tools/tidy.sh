#!/bin/bash
# clang-tidy over the C++ files named, or over all that differ from the main branch: tools/tidy.sh [FILE...]
set -euo pipefail
cd "$(dirname "$0")/.."
command -v clang-tidy-14 >/dev/null || { echo "apt-get install clang-tidy-14" >&2; exit 1; }
bazel build --noshow_progress //...  # for generated headers
tools/compile_commands.py
files=("$@")
[ ${#files[@]} -gt 0 ] || mapfile -t files < <(git diff --name-only --diff-filter=d main -- '*.cc')
[ ${#files[@]} -gt 0 ] || { echo "tidy: no file differs from main"; exit 0; }
clang-tidy-14 -p . --quiet --warnings-as-errors='*' "${files[@]}"
