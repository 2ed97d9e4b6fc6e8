#!/bin/bash
# In an nftables table of family inet, a nat chain whose only rule is `dnat ip to` starts connection tracking for IPv4 alone:
# IPv6 packets that pass the same chain get no conntrack entry until another rule (here `ct state`) asks for both families.
# Seen with nftables 1.0.6 (Debian 12) on Linux 6.18: entries after one IPv4 and one IPv6 datagram are 1, then 2 with `ct state`.
# Root; everything happens in a network namespace that the script makes. Fails if the behaviour has changed.
set -euo pipefail
version=1.0.6-2+deb12u2
folder=$(mktemp -d)
ns=finding-$$
trap 'ip netns del "$ns" 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
(cd "$folder" && apt-get download -q "nftables=$version" "libnftables1=$version" >/dev/null && for deb in *.deb; do dpkg -x "$deb" root; done)
library=$(dirname "$(find "$folder/root" -name 'libnftables.so.1' | head -n 1)")
nft() { ip netns exec "$ns" env LD_LIBRARY_PATH="$library" "$folder/root/usr/sbin/nft" "$@"; }

entries() {  # RULE...: conntrack entries after one datagram of each family
  ip netns add "$ns"
  ip -n "$ns" link add d0 type veth peer name d1
  ip -n "$ns" link set d1 up
  ip -n "$ns" addr add 192.0.2.1/24 dev d0
  ip -n "$ns" link set d0 up
  ip -n "$ns" addr add 2001:db8::1/64 dev d0 nodad
  nft "table inet t { chain c { type nat hook output priority -100; $* }; }"
  ip netns exec "$ns" bash -c 'echo hello >/dev/udp/192.0.2.9/5001; echo hello >/dev/udp/2001:db8::9/5001; cat /proc/sys/net/netfilter/nf_conntrack_count'
  ip netns del "$ns"
}

one=$(entries 'udp dport 5000 dnat ip to 192.0.2.7:53;')
both=$(entries 'ct state established accept; udp dport 5000 dnat ip to 192.0.2.7:53;')
echo "nft $version, Linux $(uname -r): $one entry without ct state, $both with it"
[ "$one" = 1 ] && [ "$both" = 2 ]
