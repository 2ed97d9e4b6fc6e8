"""A node with many pods, a node with many clouds, and a cloud with many stations. In some two minutes:

  bash tests/bench/run.sh --scale [--pods N] [--clouds N] [--stations N] [--out FILE]

Pods are layer 2 with a static address ("ipam": {}). ADD and DEL run from exec to exit, one after the other, in the presence
of all other pods. Memory is the agent's own (RssAnon). Queries are calls of vxvdectl, from exec to exit. No figure is
relative to another program: compare figures of the same machine only."""

import argparse
import contextlib
import json
import os
import re
import selectors
import signal
import socket
import statistics
import threading
import time

from tests.bench.report import heading, publish, with_out
from tests.lib.caller import Caller, enter
from tests.lib.lab import Lab, program
from tests.lib.pings import Ping, go_on
from tests.lib.process import memory, run, wait_for

SOME = 50  # pods over which percentiles are taken
ROUNDS = 10  # of queries
PEERS = 20  # behind which the stations are
PORT = 5406


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def both(values):
    return f"{percentile(values, .5):.1f} / {percentile(values, .99):.1f}"


def inside(path, what):
    """Runs what() on a thread in that network namespace: sockets stay in the namespace where they were created."""
    got = []

    def go():
        enter(path)
        got.append(what())
    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    return got[0]


class Bed:
    """A node with an agent, and pods by number."""

    def __init__(self, lab, clouds):
        self.lab, self.node = lab, lab.node("n1")
        self.clouds = clouds
        self.agent = self.node.start_agent({"metrics": "", "clouds": clouds})
        self.pods, self._callers = [], []
        for cloud in clouds:
            network = self.node.network({"cniVersion": "1.0.0", "name": cloud["name"], "plugins": [
                {"type": "vxvde", "cloud": cloud["name"], "ipam": {}}]})
            self._callers.append((network, next(network.configs())))
        self.empty = self.cost()

    def cost(self):
        """(KiB, descriptors)"""
        pid = self.agent.process.pid
        return memory(pid), len(os.listdir(f"/proc/{pid}/fd"))

    def make(self, count):
        for number in range(len(self.pods), len(self.pods) + count):
            pod = self.node.pod(f"p{number}")
            pod.ip4 = f"198.18.{number // 250}.{number % 250 + 1}"
            network, config = self._callers[number % len(self.clouds)]
            config = {**config, "args": {"cni": {"ips": [f"{pod.ip4}/16"]}}}
            pod.caller = Caller(self.lab, network.program("vxvde"), config, name=f"p{number}")
            self.pods.append(pod)

    def each(self, command, pods):
        """The milliseconds of each call, one after the other."""
        return inside(self.node.path, lambda: [pod.caller.time(command, pod.container, pod.path) for pod in pods])

    def asked(self, *question):
        """The median of some calls, in milliseconds."""
        took = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            run(["nsenter", f"--net={self.node.path}", "--", *self.agent.ctl_argv("-o", "json", *question)])
            took.append(1e3 * (time.perf_counter() - start))
        return statistics.median(took)

    def loop_delay(self):
        """The longest wait of a status query for the loop, in milliseconds, while lists are read."""
        worst = 0
        for _ in range(ROUNDS):
            lists = [self.node.start(f"list{n}", *self.agent.ctl_argv("-o", "json", "ports")) for n in range(3)]
            delay = self.agent.ctl_json("status")["loopDelay"]
            worst = max(worst, 1e3 * float(delay.rstrip("s")))
            for one in lists:
                one.wait()
        return worst

    def served(self):
        """All ports exist, and the kernel serves each that it can."""
        ports = self.agent.ports()
        return len(ports) == len(self.pods) and all(port.get("id") and port["datapath"] == "kernel" for port in ports)

    def calm(self):
        """Waits until the kernel serves all ports, and pods have sent most of the broadcasts of an interface that comes up (RFC
        7559 repeats them at growing intervals)."""
        wait_for(self.served, 120, "all ports are the kernel's")

        def said():
            return sum(int(row["count"]) for cloud in self.agent.clouds() for row in cloud["slow"] if row["reason"] == "group")

        def is_calm():
            before = said()
            time.sleep(2)
            return said() - before < max(len(self.pods) // 20, 10)
        wait_for(is_calm, 60, "pods are calm")

    def restart(self):
        """(seconds until the agent answers again, pings lost meanwhile, pings sent): kill -9 and start."""
        first, second = self.pods[0], self.pods[len(self.clouds)]  # of the same cloud
        first.reaches(second.ip4)
        pings = [Ping(first, second.ip4)]
        go_on(pings, 20)
        self.agent.stop(signal.SIGKILL)
        start = time.monotonic()
        self.agent.start(timeout=120)
        took = time.monotonic() - start
        assert self.served(), "right after the start"
        go_on(pings, 50)
        sent, lost, _ = pings[0].end()
        return took, len(lost), sent


def reached(bed):
    """The number of other pods that receive one broadcast of the first."""
    def listen():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        s.bind(("", PORT))
        return s

    def shout():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            s.sendto(b"hear me", ("198.18.255.255", PORT))

    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for pod in bed.pods[1:]:
            selector.register(stack.enter_context(inside(pod.path, listen)), selectors.EVENT_READ)
        inside(bed.pods[0].path, shout)
        deadline, heard = time.monotonic() + 10, 0
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(0.2):
                heard += 1
                selector.unregister(key.fileobj)
        return heard


def say(text):
    print(f"  {text}", flush=True)


def many_pods(count):
    """Rows (property, figure) of one cloud with `count` pods."""
    with Lab("pods") as lab:
        bed = Bed(lab, [{"name": "blue", "vnl": "vxvde://239.1.2.3"}])
        bed.make(count)
        say(f"{count} namespaces")
        first = bed.each("ADD", bed.pods[:SOME])
        bed.each("ADD", bed.pods[SOME:-SOME])
        last = bed.each("ADD", bed.pods[-SOME:])
        bed.calm()
        say("all are attached")
        (kib, files), (empty_kib, empty_files) = bed.cost(), bed.empty
        rows = [(f"ADD of pods 1-{SOME}, p50 / p99 ms", both(first)),
                (f"ADD of pods {count - SOME + 1}-{count}, p50 / p99 ms", both(last)),
                ("agent's memory: without pods / with all, MiB", f"{empty_kib / 1024:.1f} / {kib / 1024:.1f}"),
                ("memory of a port, KiB", f"{(kib - empty_kib) / count:.1f}"),
                ("descriptors of a port", f"{(files - empty_files) / count:.2f}"),
                ("asked for the node, for all ports, ms", f"{bed.asked('status'):.0f}, {bed.asked('ports'):.0f}"),
                ("longest wait for the loop while three ask for all ports, ms", f"{bed.loop_delay():.1f}")]
        took, lost, sent = bed.restart()
        rows += [("kill -9: answers again after, s", f"{took:.2f}"), ("pings lost meanwhile", f"{lost} of {sent}"),
                 ("hear one broadcast", f"{reached(bed)} of {count - 1}")]
        last = bed.each("DEL", bed.pods[-SOME:])
        bed.each("DEL", bed.pods[SOME:-SOME])
        first = bed.each("DEL", bed.pods[:SOME])
        rows += [(f"DEL of pods {count - SOME + 1}-{count}, p50 / p99 ms", both(last)),
                 (f"DEL of pods 1-{SOME}, p50 / p99 ms", both(first))]
        return rows


def many_clouds(count):
    """The same for `count` clouds with two pods each."""
    with Lab("clouds") as lab:
        bed = Bed(lab, [{"name": f"c{n}", "vnl": f"vxvde://239.1.{n // 250 + 1}.{n % 250 + 1}"} for n in range(count)])
        bed.make(2 * count)
        say(f"{2 * count} namespaces")
        part = max(count // 4, 1)
        joins = bed.each("ADD", bed.pods[:count])
        second = bed.each("ADD", bed.pods[count:])
        bed.calm()
        for first, other in zip(bed.pods, bed.pods[count:]):
            first.reaches(other.ip4)
        (kib, files), (empty_kib, empty_files) = bed.cost(), bed.empty
        rows = [(f"ADD that joins clouds 1-{part}, p50 / p99 ms", both(joins[:part])),
                (f"ADD that joins clouds {count - part + 1}-{count}, p50 / p99 ms", both(joins[-part:])),
                ("ADD of a second pod, p50 / p99 ms", both(second)),
                ("memory of a cloud with two pods, KiB", f"{(kib - empty_kib) / count:.0f}"),
                ("descriptors of a cloud with two pods", f"{(files - empty_files) / count:.1f}"),
                ("asked for the node, for all clouds, ms", f"{bed.asked('status'):.0f}, {bed.asked('clouds'):.0f}")]
        took, lost, sent = bed.restart()
        rows += [("kill -9: answers again after, s", f"{took:.2f}"), ("pings lost meanwhile", f"{lost} of {sent}")]
        second = bed.each("DEL", bed.pods[count:])
        leaves = bed.each("DEL", bed.pods[:count])
        rows += [("DEL of a second pod, p50 / p99 ms", both(second)),
                 ("DEL that leaves a cloud, p50 / p99 ms", both(leaves))]
        wait_for(lambda: not bed.agent.clouds(), 10, "all clouds are left")
        return rows


def round_trips(source, address, seconds):
    """The milliseconds of each ping, sent every two milliseconds."""
    count = int(seconds / 0.002)
    said = source.run("ping", "-n", "-i", "0.002", "-c", count, address, timeout=seconds + 30).stdout
    return [float(ms) for ms in re.findall(r"time=([0-9.]+) ms", said)]


def fdb_alone():
    """{benchmark: its figures} of the work that the FDB of 200,000 stations does in one turn."""
    done = run([program("tests/bench/core_bench"), "--benchmark_format=json", "--benchmark_min_time=0.1",
                "--benchmark_filter=FdbLeaveOneTurn|FdbSweepOneTurn|FdbFillWorstLearn"], timeout=60)
    return {one["name"].split("/")[0]: one for one in json.loads(done.stdout)["benchmarks"]}


def many_stations(count):
    """The effect on pods of a member that leaves with its stations: pings through the agent show whether its loop is late."""
    with Lab("stations") as lab:
        node, stranger = lab.node("n1"), lab.node("n2")
        # Long enough for all stations to exist at once.
        agent = node.start_agent({"metrics": "", "datapath": "user", "clouds": [
            {"name": "blue", "vnl": "vxvde://239.1.2.3/expiretime=600"}]})
        near, beside = node.pod("near"), node.pod("beside")
        for pod in (near, beside):
            pod.add(node.net("vxvde://239.1.2.3", name="blue"))
        near.reaches(beside.ip4)
        target, each = f"{node.ip4}:{agent.clouds()[0]['unicastPort']}", count // PEERS
        empty = memory(agent.process.pid)

        def known():
            return agent.ctl_json("status")["stationCount"]

        for peer in range(PEERS):
            # Some datagrams are lost when the machine is busy.
            wanted = known() + each
            while (there := known()) < wanted:
                stranger.run(program("tests/hostile"), "sources", 20000, "239.1.2.3", 14789, 1, target, "--mac", near.mac("eth0"),
                             "--source-port", 30000 + peer, "--most", each, "--first", peer * each)
                assert known() > there, f"{there} stations, and no more"
        total = known()
        say(f"{total} stations")
        size = memory(agent.process.pid)
        quiet = round_trips(near, beside.ip4, 4)
        pinging = []
        thread = threading.Thread(target=lambda: pinging.extend(round_trips(near, beside.ip4, 4)))
        thread.start()
        time.sleep(1)
        stranger.run(program("tests/hostile"), "leave", 20000, "239.1.2.3", 14789, 1, target, "--source-port", 30000, "--most", 1)
        thread.join()
        left = known()
        assert left <= total - each, f"{total} stations, and {left} after {each} have left"
        alone = fdb_alone()
        return [("memory of a station, bytes", f"{1024 * (size - empty) / total:.0f}"),
                ("ping through the agent, p50 / p99 / largest ms",
                 f"{percentile(quiet, .5):.2f} / {percentile(quiet, .99):.2f} / {max(quiet):.2f}"),
                (f"the same while {each} of {total} leave",
                 f"{percentile(pinging, .5):.2f} / {percentile(pinging, .99):.2f} / {max(pinging):.2f}"),
                ("a turn of the FDB alone, of 200,000: of 10,000 that leave / of the sweep, ms",
                 " / ".join(f"{alone[name]['cpu_time'] / 1e6:.3f}" for name in ("FdbLeaveOneTurn", "FdbSweepOneTurn"))),
                ("its longest call while they come, ms", f"{alone['FdbFillWorstLearn']['worst_ms']:.1f}")]


def table(pods, clouds, stations):
    out = []
    for title, rows in ((f"{pods} pods in one cloud", many_pods(pods)), (f"{clouds} clouds, two pods each", many_clouds(clouds)),
                        (f"{stations} stations of {PEERS} members in one cloud", many_stations(stations))):
        out += [f"### One node: {title}\n", "| | |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows), ""]
    return "\n".join(out)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pods", type=int, default=500)
    options.add_argument("--clouds", type=int, default=64)
    options.add_argument("--stations", type=int, default=200_000)
    options = with_out(options).parse_args()
    publish(heading() + table(options.pods, options.clouds, options.stations), options.out)


if __name__ == "__main__":
    main()
