"""An agent that is killed, restarted or upgraded under traffic: no ping is lost, and TCP connections only pause.

  tests/py.sh tests/lifecycle/lossless_test.py [--line-rate] [--rounds N] [test...]

With pods that share a node and pods on two nodes, while the agents of both nodes are replaced in turn.
"""

import os
import re
import shutil
import signal
import sys
import time

from tests.lib import runner
from tests.lib.lab import DATAPATH, Lab, program, source
from tests.lib.pings import Ping, go_on
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3"
STREAM = source("tests/lib/stream.py")
ROUNDS = 1
PERIOD = 0.005  # of the blocks of a stream; --line-rate: 0
# Longer than the start of an agent on a slow machine, and less than a retransmission timer that has doubled many times.
LONGEST_PAUSE = 15
ABSENT = 0.2  # the longest time without forwarding, in addition to the start of an agent


class Stream:
    """A TCP stream (lib/stream.py)."""

    def __init__(self, source, sink, address, port):
        self.what = f"{source} -> {sink}"
        self._receiver = sink.start(f"stream-{port}", "/usr/bin/python3", STREAM, "receive", address, port)
        self._receiver.says("listening")
        ours, theirs = os.pipe()
        self._stop = theirs
        self._sender = source.start(f"stream-{port}", "/usr/bin/python3", STREAM, "send", address, port, PERIOD, stdin=ours)
        os.close(ours)
        self._sender.says("sending")

    def end(self):
        """The longest time without a byte; a broken connection raises an AssertionError."""
        os.close(self._stop)
        for process in (self._sender, self._receiver):
            assert process.wait(90) == 0, f"{self.what}: {process.output()}"
        return float(re.search(r"([0-9.]+) s at most", self._receiver.output())[1])


def replace(lab, agent, how, number, meanwhile):
    """Ends the agent, calls `meanwhile` and starts another one; returns the time from the end of the one until the other is
    ready."""
    if how == "upgrade":
        agent.program = lab.file(f"vxvde-agent-{number % 2}")
        shutil.copy(program("agent/vxvde-agent"), agent.program + ".new")
        os.rename(agent.program + ".new", agent.program)
    agent.stop(signal.SIGKILL if how == "kill -9" else signal.SIGTERM)
    begin = time.monotonic()
    meanwhile()
    agent.start()
    return time.monotonic() - begin


def expect_as_before(agent, kernel, stations):
    """The state that a new agent knows at once, without receiving a frame."""
    if kernel:
        slow = [port for port in agent.ports() if port["datapath"] != "kernel" and port["mode"] != "tap"]
        assert not slow, f"{agent.node}: fast before, and not right after the start: {slow}"
        known = {entry["mac"] for entry in agent.fdb()}
        assert stations <= known, f"{agent.node} has forgotten {stations - known}"


def lossless(how):
    with Lab("lossless") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        agents = [n1.start_agent(), n2.start_agent()]
        near, beside, far, tap = n1.pod("near"), n1.pod("beside"), n2.pod("far"), n1.pod("tap")
        for pod in (near, beside, far):
            pod.add(pod.node.net(VNL))
        tap.add(n1.net(VNL, mode="tap"))
        near.reaches(beside.ip4)
        near.reaches(far.ip4)
        beside.reaches(far.ip6)
        tap.reaches(far.ip4)
        lab.settle()
        kernel = all(cloud["datapath"] == "kernel" for agent in agents for cloud in agent.clouds())
        assert kernel or DATAPATH == "user", "this test is about the kernel's datapath as well"
        stations = {pod.mac("eth0") for pod in (near, beside, far, tap)}
        pings = [Ping(near, beside.ip4), Ping(near, far.ip4), Ping(far, beside.ip6)]
        to_tap = Ping(far, tap.ip4)  # which needs an agent in any case
        streams = [Stream(near, beside, beside.ip4, 5301), Stream(near, far, far.ip4, 5302),
                   Stream(far, beside, beside.ip6, 5303)]
        go_on(pings, 20)
        away = []
        for number in range(2 * ROUNDS):
            agent = agents[number % 2]
            # The kernel datapath continues without an agent; otherwise all frames wait.
            away.append(replace(lab, agent, how, number, lambda: go_on(pings, 20) if kernel else time.sleep(ABSENT)))
            expect_as_before(agent, kernel, stations)
            go_on([*pings, to_tap], 50)
        pauses = [(stream.what, stream.end()) for stream in streams]
        # After the streams' frames: only the last echo is still in flight.
        go_on([*pings, to_tap], 10)
        results = [(ping.what, *ping.end()) for ping in [*pings, to_tap]]
        print(f"  {how}: {len(away)} times, {max(away):.2f} s at most; "
              + "; ".join(f"{what}: {sent} sent, {len(lost)} lost, {twice} twice" for what, sent, lost, twice in results)
              + "; " + "; ".join(f"{what}: {pause:.2f} s at most without a byte" for what, pause in pauses), flush=True)
        lost = {what: missing for what, _, missing, _ in results if missing}
        assert not lost, f"echoes without an answer: {lost}"
        assert all(pause < LONGEST_PAUSE for _, pause in pauses), pauses


def test_kill():
    """kill -9, then start"""
    lossless("kill -9")


def test_restart():
    """SIGTERM, then start"""
    lossless("SIGTERM")


def test_upgrade():
    """SIGTERM, then another binary"""
    lossless("upgrade")


def test_gateway():
    """the node's own port, and hosts behind it"""
    with Lab("gateway") as lab:
        n1 = lab.node("n1")
        agent = n1.start_agent({"clouds": [{"name": "blue", "vnl": VNL, "subnets": ["198.51.100.0/24"], "gateway": True,
                                            "masquerade": True}]})
        n2 = lab.node("n2")
        pod = n1.pod("pod")
        result = pod.add(n1.network({"cniVersion": "1.0.0", "name": "blue", "plugins": [{"type": "vxvde", "cloud": "blue"}]}))
        gateway = result["ips"][0]["gateway"]
        wait_for(lambda: pod.ping(gateway) and pod.ping(n2.ip4), 20, "the pod reaches its gateway and the LAN behind it")
        pings = [Ping(pod, gateway), Ping(pod, n2.ip4)]
        go_on(pings, 20)
        for number in range(ROUNDS):
            for how in ("kill -9", "SIGTERM", "upgrade"):
                replace(lab, agent, how, number, lambda: time.sleep(ABSENT))
                go_on(pings, 50)
        results = [(ping.what, *ping.end()) for ping in pings]
        print(f"  {results}", flush=True)
        assert not [what for what, _, missing, _ in results if missing], results


if __name__ == "__main__":
    if "--line-rate" in sys.argv:
        PERIOD = 0
        sys.argv.remove("--line-rate")
    if "--rounds" in sys.argv:
        at = sys.argv.index("--rounds")
        ROUNDS = int(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    runner.main(globals())
