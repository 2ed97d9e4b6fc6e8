#!/bin/bash
# tools/format.sh           formats all C++ of the tree
# tools/format.sh --check   names files that are not formatted; exit 1
set -euo pipefail
cd "$(dirname "$0")/.."
mode=(-i)
[ "${1:-}" != --check ] || mode=(--dry-run --Werror)
git ls-files -z '*.cc' '*.h' ':!*.bpf.h' ':!plugin/fastpath/abi.h' | xargs -0 clang-format-14 "${mode[@]}"
