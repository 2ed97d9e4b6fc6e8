"""Tables of a newer nft on the node: the agent's rules are written, listed and restored beside them.

    tests/py.sh tests/runtimes/newer_nft_test.py [ROOT] [test_name...]

ROOT is a folder with a Debian trixie that has nftables; it is made when it is not there (about 60 s, from the machine's
apt mirror), and kept for the next run. Default: /var/tmp/vxvde-nft/root."""

import os
import signal
import sys

from tests.datapath.host_test import add, answered, ask, node_port, outside, serve, start
from tests.lib import runner
from tests.lib.lab import Lab
from tests.lib.podman5 import make_root
from tests.lib.process import wait_for

ROOT = "/var/tmp/vxvde-nft/root"
# Forms that only newer versions write: typeof sets with expressions in their user data, concatenated ranges, maps of
# verdicts, counters of elements, comments on everything, ct helpers, flowtables, `last`, `destroy`, fib in sets.
FIREWALL = """
table inet firewall {
  comment "the operator's"
  set blocked {
    typeof ip saddr . tcp dport
    flags interval,timeout
    counter
    comment "addresses and ports"
    elements = { 198.18.0.0/16 . 1-1023 timeout 1h comment "a test network" }
  }
  set recent { typeof meta mark . ip6 saddr . ct state; size 128; flags dynamic,timeout; timeout 5m; }
  map marks { typeof ip saddr . meta iifname : meta mark; flags interval; elements = { 198.18.1.0/24 . "lo" : 7 } }
  set macs { typeof vlan id . ether saddr; elements = { 7 . 02:00:00:00:00:01 } }
  chain input {
    type filter hook input priority filter + 5; policy accept;
    ct state vmap { invalid : drop, established : accept, related : accept } comment "first"
    ip saddr . tcp dport @blocked counter last drop
    meta mark set ip saddr . iifname map @marks
    tcp option mptcp subtype 1 counter
    udp length . udp checksum { 9999 . 1 } counter
    ip saddr . ip daddr . tcp sport . tcp dport { 198.18.0.1 . 198.18.0.2 . 1-9 . 22 } reject with icmpx admin-prohibited
  }
}
"""
ENGINE = """
table inet netavark {
  chain INPUT { type filter hook input priority filter; policy accept;
    ip saddr 10.89.0.0/24 meta l4proto { tcp, udp } th dport 53 accept comment "dns"; }
  chain FORWARD { type filter hook forward priority filter; policy accept;
    ct state invalid drop
    ip daddr 10.89.0.0/24 ct state established,related accept; }
  chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept;
    meta mark & 0x00002000 == 0x00002000 masquerade
    ip saddr 10.89.0.0/24 ip daddr != { 10.89.0.0/24, 224.0.0.0/4 } masquerade fully-random; }
  map ports { typeof tcp dport : ip daddr . tcp dport; flags interval; elements = { 20000-20009 : 10.89.0.2 . 80 }; }
  chain PREROUTING { type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local dnat ip to tcp dport map @ports; }
}
table ip docker-bridges {
  map filter-forward-in-jumps { typeof oifname : verdict; elements = { "docker0" : jump filter-forward-in__docker0 }; }
  chain filter-forward-in__docker0 { ct state established,related counter accept; iifname "docker0" counter accept; }
  chain filter-FORWARD { type filter hook forward priority filter; policy accept; oifname vmap @filter-forward-in-jumps; }
}
"""
# As kube-proxy's nftables mode writes it: a cluster address leads to a pod by verdict maps and numgen.
SERVICES = """
table ip kube-proxy {{
  comment "rules for kube-proxy"
  set cluster-ips {{ typeof ip daddr; comment "Active ClusterIPs"; elements = {{ 192.0.2.201 }}; }}
  map service-ips {{ typeof ip daddr . ip protocol . th dport : verdict
    elements = {{ 192.0.2.201 . tcp . 80 comment "default/web" : goto service-web }}; }}
  map no-endpoint-services {{ type ipv4_addr . inet_proto . inet_service : verdict; flags interval; }}
  chain endpoint-1 {{ ip saddr {pod} jump mark-for-masquerade; meta l4proto tcp dnat to {pod}:80; }}
  chain service-web {{ ip daddr 192.0.2.201 tcp dport 80 ip saddr != 198.51.100.0/24 jump mark-for-masquerade
    numgen random mod 1 vmap {{ 0 : goto endpoint-1 }}; }}
  chain mark-for-masquerade {{ meta mark set meta mark | 0x00004000; }}
  chain services {{ ip daddr . meta l4proto . th dport vmap @service-ips; }}
  chain nat-prerouting {{ type nat hook prerouting priority dstnat; policy accept; jump services; }}
  chain nat-output {{ type nat hook output priority -100; policy accept; jump services; }}
  chain nat-postrouting {{ type nat hook postrouting priority srcnat; policy accept;
    meta mark & 0x00004000 != 0 meta mark set meta mark ^ 0x00004000 masquerade fully-random; }}
}}
"""


def newer(node, *args, check=True):
    """nft of ROOT, in the node's namespace."""
    return node.run("chroot", ROOT, "/usr/sbin/nft", *args, check=check)


def write(node, text):
    """Loads `text` with the newer nft, which needs no files of the machine."""
    return newer(node, text)


def foreign(node):
    """The newer nft's listing of all tables but the agent's, without counters."""
    tables = [line for line in newer(node, "list", "tables").stdout.splitlines() if "vxvde" not in line]
    return {table: newer(node, "--stateless", "list", *table.split()).stdout for table in tables}


def test_beside_tables_of_a_newer_nft():
    """gateway, published port, Service, restart and flush work as without the foreign tables, which stay unchanged"""
    with Lab("newer-nft") as lab:
        node = lab.node("n1")
        write(node, FIREWALL)
        write(node, ENGINE)
        node.start_agent({"clouds": [{"name": "blue", "vnl": "vxvde://239.1.2.3/vni=7", "gateway": True, "masquerade": True,
                                      "subnets": ["198.51.100.0/24", "2001:db8:42::/64"]}]})
        own = node_port(node)
        host = outside(lab, node)
        node.ip("route", "add", "default", "via", "203.0.113.2")
        client = add(node, "client")
        pod = add(node, "web", ports=[{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}])
        write(node, SERVICES.format(pod=pod.ip4))
        serve(pod, 80)
        serve(host, 8000)
        before = foreign(node)
        assert len(before) == 4, before
        if "v1.0.6" in node.run("nft", "--version").stdout:
            assert node.run("nft", "list", "ruleset", check=False).returncode < 0, "it reads them: the test proves nothing"

        def works(why):
            for who, address, port in ((host, "203.0.113.1", 8080), (node, "127.0.0.1", 8080),
                                       (client, "192.0.2.201", 80), (node, "192.0.2.201", 80), (node, pod.ip4, 80)):
                assert answered(who, address, port), (why, who, address)
            wait_for(lambda: (ask(pod, "203.0.113.2", 8000) or "").endswith("203.0.113.1"), 10, f"masquerading {why}")
            assert not node.agent.ctl_json("status").get("warning"), why
        works("at first")
        table = newer(node, "--stateless", "list", "table", "inet", "vxvde").stdout
        assert f"8080 : {pod.ip4} . 80" in table and "masquerade" in table, table
        for name in ("inet vxvde-underlay", "inet vxvde-wall", "arp vxvde-wall"):
            assert "drop" in newer(node, "list", "table", *name.split()).stdout, name
        for sig in (signal.SIGTERM, signal.SIGKILL):
            node.agent.stop(sig)
            node.agent.start()
            works(f"after {sig!r}")
            assert node_port(node) == own
            assert newer(node, "--stateless", "list", "table", "inet", "vxvde").stdout == table
        for damage in ("flush table inet vxvde", "destroy table inet vxvde", "add rule inet vxvde into_clouds counter last drop"):
            newer(node, damage)
            wait_for(lambda: newer(node, "--stateless", "list", "table", "inet", "vxvde", check=False).stdout == table, 10,
                     f"the table is as it was after {damage}")
        works("after damage")
        assert foreign(node) == before
        pod.network.delete(pod)
        assert "8080" not in newer(node, "list", "table", "inet", "vxvde").stdout
        assert foreign(node) == before


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("/"):
        ROOT = sys.argv.pop(1)
    if not os.path.isdir(ROOT):
        make_root(ROOT, ["nftables"])
    runner.main(globals())
