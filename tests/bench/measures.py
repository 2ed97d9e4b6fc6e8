"""One measurement between two ends: {figure: value}."""

import json
import os

from tests.lib.lab import program

# Figure: (heading, whether more is better).
FIGURES = {"tcp1": ("TCP x1 Gbit/s", True), "cpu": ("CPU s/GB", False), "tcp4": ("TCP x4 Gbit/s", True),
           "pps": ("64 B kpps", True), "cpup": ("CPU us/packet", False), "bum": ("broadcast kpps", True),
           "udp50": ("UDP_RR p50 us", False), "udp99": ("UDP_RR p99 us", False),
           "tcp50": ("TCP_RR p50 us", False), "tcp99": ("TCP_RR p99 us", False)}


def busy():
    """Seconds that the machine's CPUs were busy, since boot."""
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _, _, irq, softirq = map(int, f.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def tcp1(a, b, seconds):
    """CPU time of the whole machine, iperf3 included, for each gigabyte that arrived."""
    before = busy()
    received = a.iperf3(b, b.ip4, seconds=seconds)["end"]["sum_received"]
    return {"tcp1": received["bits_per_second"] / 1e9, "cpu": (busy() - before) / (received["bytes"] / 1e9)}


def tcp4(a, b, seconds):
    return {"tcp4": a.iperf3(b, b.ip4, "-P", "4", seconds=seconds)["end"]["sum_received"]["bits_per_second"] / 1e9}


def flood(a, b, address, seconds):
    """Received datagrams of 18 bytes of payload, which are frames of 64 bytes with their checksum, sent as fast as possible."""
    sink = b.start("sink", program("tests/traffic"), "sink", "5401", 1000 * seconds).says("ready")
    sender = a.start("flood", program("tests/traffic"), "flood", address, "5401", "18", 1000 * (seconds + 10))
    try:
        sink.wait(seconds + 15)
    finally:
        sender.kill()
        sink.kill()
    assert sink.returncode == 0, f"{a} -> {b} {address}: {sink.output()}"
    return json.loads(sink.output().splitlines()[-1])


def pps(a, b, seconds):
    got = flood(a, b, b.ip4, seconds)
    return {"pps": got["packets"] / got["seconds"] / 1e3, "cpup": got["busy"] / got["packets"] * 1e6}


def bum(a, b, seconds):
    """The same, to the broadcast address of the subnet."""
    got = flood(a, b, b.ip4.rsplit(".", 1)[0] + ".255", seconds)
    return {"bum": got["packets"] / got["seconds"] / 1e3}


def rr(a, b, seconds):
    """Requests and responses of one byte, one at a time; half of the time UDP, half TCP."""
    out = {}
    for kind in ("udp", "tcp"):
        responder = b.start("respond", program("tests/traffic"), "respond", kind, b.ip4, "5400").says("ready")
        done = a.run(program("tests/traffic"), "ask", kind, b.ip4, "5400", 500 * seconds)
        responder.kill()
        figures = json.loads(done.stdout)
        out.update({f"{kind}50": figures["p50_us"], f"{kind}99": figures["p99_us"]})
    return out


# Column: the turn that measures it.
COLUMNS = {"tcp1": tcp1, "tcp4": tcp4, "pps": pps, "bum": bum, "rr": rr}
