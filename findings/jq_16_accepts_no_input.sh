#!/bin/bash
# jq 1.6 with -e ends with 0 when its input is empty, although no filter result exists and the manual promises 4 for that.
# In `program | jq -e FILTER` a program that fails without output therefore looks like one whose answer passed the filter.
# Seen with jq 1.6 (Debian 12). Fails if the behaviour has changed.
set -euo pipefail
version=1.6-2.1+deb12u3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
(cd "$folder" && apt-get download -q "jq=$version" "libjq1=$version" libonig5 >/dev/null && for deb in *.deb; do dpkg -x "$deb" root; done)
libraries=$(dirname "$(find "$folder/root" -name 'libjq.so.1' | head -n 1)")
onig=$(dirname "$(find "$folder/root" -name 'libonig.so.5' | head -n 1)")

status() {  # INPUT: exit status of `jq -e .ready`
  local code=0
  printf '%s' "$1" | LD_LIBRARY_PATH="$libraries:$onig" "$folder/root/usr/bin/jq" -e .ready >/dev/null || code=$?
  echo "$code"
}

echo "jq $version -e .ready: $(status '{"ready": true}') for true, $(status '{"ready": false}') for false, $(status '') for no input"
[ "$(status '{"ready": true}')" = 0 ] && [ "$(status '{"ready": false}')" = 1 ] && [ "$(status '')" = 0 ]
