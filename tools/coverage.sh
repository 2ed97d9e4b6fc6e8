#!/bin/bash
# Line coverage by the unit tests, a line each file: tools/coverage.sh [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
command -v gcovr >/dev/null || { echo "apt-get install gcovr" >&2; exit 1; }
data=/tmp/vxvde-cov  # as --config=cov has it
rm -rf "$data"
bazel test --config=cov --test_tag_filters=-integration "${@:-//...}"
# gcov needs notes and counts in one folder, and the sources where they were compiled.
find bazel-out/ -name '*.gcno' -path '*/_objs/*' -exec cp -L --parents -t "$data" {} +
ln -sfn "$PWD"/{agent,cni,plugin,tests} "$data"
cd "$data"
gcovr -r . --object-directory bazel-out --exclude 'bazel-out/.*' --exclude '.*_test\.cc'
