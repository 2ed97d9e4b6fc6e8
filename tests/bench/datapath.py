"""The data path against what it has to beat: interleaved runs across two nodes, medians with (min-max), and ratios.

    bazel build -c opt //agent:vxvde-agent //agent:vxvdectl //cni:vxvde //tests:udp_rr
    tests/py.sh tests/bench/datapath.py [--quick] [--rounds N] [--seconds S] [--fabric A|W] [--out FILE]

Fabric A is plain veth: super-frames cross it whole, as between virtual machines of one host. Fabric W has uplinks
without offloads (every datagram at most 1500 bytes; GRO on receive): a poor NIC.
Inner MTU 1450 everywhere. TCP is one cubic stream. pps: UDP with 18 bytes of payload, frames that arrived.
RR: one UDP request and its response of 1 byte, p50. CPU: busy time of the whole machine for each gigabyte of TCP."""

import argparse
import datetime
import json
import os
import statistics
import sys

from tests.lib.lab import Lab, program
from tests.lib.process import run

VNL = "vxvde://239.1.2.3"
MTU = 1450
OURS, PLUG, KERNEL = "vxvde veth-veth", "vde_plug", "kernel VXLAN"
COLUMNS = {"tcp": "TCP Gbit/s", "cpu": "CPU s/GB", "pps": "64 B kpps", "rr": "RR p50 us"}


def ours(n1, n2):
    pods = []
    for node in (n1, n2):
        node.start_agent()
        pod = node.pod("pod")
        pod.add(node.net(VNL, mtu=MTU))
        pods.append(pod)
    return pods


def plug(n1, n2):
    return [node.vde_plug(f"plug{i}", "vxvde://239.1.2.4", mtu=MTU).join(i) for i, node in enumerate((n1, n2), 1)]


def kernel_vxlan(n1, n2):
    ends = []
    for i, (node, peer) in enumerate(((n1, n2), (n2, n1)), 3):
        end = node.lab.netns(f"{node.name}-kernel")
        node.ip("link", "add", "vx0", "type", "vxlan", "id", "7", "dstport", "4789", "local", node.ip4, "dev", "eth0",
                "nolearning")
        node.run("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", peer.ip4)
        node.ip("link", "add", "br0", "type", "bridge")
        node.ip("link", "add", "kernel", "mtu", str(MTU), "type", "veth",
                "peer", "name", "eth0", "mtu", str(MTU), "netns", end.path)
        for link in ("vx0", "kernel"):
            node.ip("link", "set", link, "mtu", str(MTU), "master", "br0", "up")
        node.ip("link", "set", "br0", "up")
        end.ip4 = f"198.51.100.{i}"
        end.address("eth0", f"{end.ip4}/24")
        ends.append(end)
    return ends


def busy():
    """Seconds that the machine's CPUs were busy, since boot."""
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _, _, irq, softirq = map(int, f.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measure(a, b, seconds):
    """{column: figure} of one turn from `a` to `b`."""
    before = busy()
    received = a.iperf3(b, b.ip4, seconds=seconds)["end"]["sum_received"]
    cpu = busy() - before
    udp = a.iperf3(b, b.ip4, "-u", "-l", "18", "-b", "0", seconds=seconds)["end"]["sum"]
    responder = b.start("udp_rr", program("tests/udp_rr"), "respond", b.ip4, "5400").says("ready")
    rr = json.loads(a.run(program("tests/udp_rr"), "ask", b.ip4, "5400", str(1000 * seconds)).stdout)
    responder.kill()
    return {"tcp": received["bits_per_second"] / 1e9, "cpu": cpu / (received["bytes"] / 1e9),
            "pps": (udp["packets"] - udp["lost_packets"]) / udp["seconds"] / 1e3, "rr": rr["p50_us"]}


def fabric(name, rounds, seconds):
    """{path: {column: [figure of each round]}}"""
    figures = {path: {column: [] for column in COLUMNS} for path in (OURS, PLUG, KERNEL)}
    with Lab(f"bench{name}", offloads=name == "A") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        paths = {OURS: ours(n1, n2), PLUG: plug(n1, n2), KERNEL: kernel_vxlan(n1, n2)}
        for a, b in paths.values():
            a.reaches(b.ip4)
        for i in range(rounds):
            for path, (a, b) in paths.items():
                for column, figure in measure(a, b, seconds).items():
                    figures[path][column].append(figure)
                print(f"fabric {name}, round {i + 1}/{rounds}, {path}: "
                      f"{figures[path]['tcp'][-1]:.2f} Gbit/s", file=sys.stderr, flush=True)
        for path, (a, b) in paths.items():
            for end in (a, b):
                assert not end.csum_errors(), f"{path}: {end.csum_errors()}"
    return figures


def table(name, figures):
    lines = [f"### Fabric {name}", "", "| path | " + " | ".join(COLUMNS.values()) + " |",
             "|---|" + "---|" * len(COLUMNS)]
    median = {path: {c: statistics.median(v) for c, v in row.items()} for path, row in figures.items()}
    for path, row in figures.items():
        cells = [f"{median[path][c]:.2f} ({min(v):.2f}-{max(v):.2f})" for c, v in row.items()]
        lines.append(f"| {path} | " + " | ".join(cells) + " |")
    for other in (PLUG, KERNEL):
        cells = [f"{median[OURS][c] / median[other][c]:.2f}" for c in COLUMNS]
        lines.append(f"| vxvde / {other} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="one short round of each, under two minutes")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=5)
    options.add_argument("--fabric", choices=["A", "W"], action="append")
    options.add_argument("--out", help="also write the tables there (Markdown)")
    options = options.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 2
    head = run(["git", "describe", "--always", "--dirty"], check=False).stdout.strip()
    text = (f"## {datetime.date.today()}, {head}, Linux {os.uname().release}, {os.cpu_count()} CPUs, "
            f"{options.rounds} x {options.seconds} s\n\n")
    for name in options.fabric or ["A", "W"]:
        text += table(name, fabric(name, options.rounds, options.seconds)) + "\n"
    print(text, end="")
    if options.out:
        with open(options.out, "w", encoding="utf-8") as f:
            f.write(text)


main()
