#!/bin/sh
# Runs a Python program of this tree: tests/py.sh tests/datapath/cloud_test.py [test_name...]
# Under Bazel the current folder contains the runfiles; otherwise bazel-bin contains the programs.
[ -n "$TEST_SRCDIR" ] || cd "$(dirname "$0")/.." || exit 1
PYTHONPATH=$PWD PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 "$@"
