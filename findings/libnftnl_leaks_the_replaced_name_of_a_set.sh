#!/bin/bash
# In libnftnl 1.2.4, nftnl_expr_set_str(NFTNL_EXPR_LOOKUP_SET) on a lookup expression that has a name already does not free
# the earlier name: each further call leaks it. A name that is set once is freed with the expression.
# Seen with libnftnl11 1.2.4-2 (Debian 12): LeakSanitizer finds one allocation when the name is set twice, none when once.
# A program that rewrites what nftnl_rule_nlmsg_parse() has read leaks likewise. Needs g++ with libasan.
# Fails if the behaviour has changed.
set -euo pipefail
version=1.2.4-2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
(cd "$folder" && apt-get download -q "libnftnl11=$version" "libnftnl-dev=$version" libmnl0 >/dev/null &&
  for deb in *.deb; do dpkg -x "$deb" root; done)
libraries=$(dirname "$(find "$folder/root" -name 'libnftnl.so.11' | head -n 1)")
mnl=$(dirname "$(find "$folder/root" -name 'libmnl.so.0' | head -n 1)")

cat >"$folder/names.cc" <<'SOURCE'
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <linux/netfilter.h>
#include <sys/socket.h>
extern "C" {
#include <libnftnl/expr.h>
}
int main(int, char** argv) {
  nftnl_expr* lookup = nftnl_expr_alloc("lookup");
  for (int i = std::atoi(argv[1]); i > 0; --i) nftnl_expr_set_str(lookup, NFTNL_EXPR_LOOKUP_SET, "a-name");
  nftnl_expr_free(lookup);
}
SOURCE
g++ -g -fsanitize=address -isystem "$folder/root/usr/include" "$folder/names.cc" -o "$folder/names" \
  -L"$(dirname "$(find "$folder/root" -name 'libnftnl.so' | head -n 1)")" -lnftnl -Wl,-rpath-link,"$libraries:$mnl"

leaks() {  # TIMES: how many allocations are leaked if the name is set so often
  { LD_LIBRARY_PATH="$libraries:$mnl" ASAN_OPTIONS=detect_leaks=1 "$folder/names" "$1" 2>&1 || true; } |
    sed -n 's/^SUMMARY: .* byte(s) leaked in \([0-9]*\) allocation.*/\1/p'
}

once=$(leaks 1)
twice=$(leaks 2)
echo "libnftnl $version: ${once:-0} allocations leaked when the name is set once, ${twice:-0} when twice"
[ "${once:-0}" = 0 ] && [ "${twice:-0}" = 1 ]
