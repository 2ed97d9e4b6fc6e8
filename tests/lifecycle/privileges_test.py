"""The privileges of the running agent and its holder (docs/OPERATIONS.md, "What the agent may do")."""

import os
import re
import signal

from tests.lib import runner
from tests.lib.lab import Lab
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3"
NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_ADMIN, BPF = 10, 12, 13, 21, 39  # <linux/capability.h>
TO_RUN = {NET_BIND_SERVICE, NET_ADMIN, NET_RAW, BPF}


def status(pid, thread):
    with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as f:
        return dict(re.findall(r"(\w+):\s+(.*)", f.read()))


def threads(pid):
    return {int(thread): status(pid, thread) for thread in os.listdir(f"/proc/{pid}/task")}


def capabilities(one):
    """The capabilities that it could have at all."""
    bits = int(one["CapPrm"], 16) | int(one["CapEff"], 16) | int(one["CapAmb"], 16)
    return {number for number in range(64) if bits >> number & 1}


def check_limits(lab, agent):
    pid = agent.process.pid
    everyone = threads(pid)
    assert capabilities(everyone[pid]) == TO_RUN, everyone[pid]
    for one in everyone.values():
        assert capabilities(one) <= TO_RUN, one
        assert (one["NoNewPrivs"], one["Seccomp"]) == ("1", "2"), one
    # Threads that read input of users and scrapers.
    assert [one for one in everyone.values() if not capabilities(one)], everyone
    holders = [holder for holder in lab.programs() if status(holder, holder)["Name"] == "vxvde-holder"]
    assert holders
    for holder in holders:
        one = status(holder, holder)
        assert not capabilities(one) and (one["NoNewPrivs"], one["Seccomp"]) == ("1", "2"), one


def test_it_keeps_what_it_needs():
    """few capabilities in the loop, none in the threads of the servers and in the holder, and everything works with these"""
    with Lab("limits") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        for node in (n1, n2):
            node.start_agent()
        check_limits(lab, n1.agent)
        veth, tap, far = n1.pod("veth"), n1.pod("tap"), n2.pod("far")
        veth.add(n1.net(VNL))
        tap.add(n1.net(VNL, mode="tap"))
        far.add(n2.net(VNL))
        for one in (signal.SIGKILL, signal.SIGTERM):
            for pod in (veth, tap):
                pod.reaches(far.ip4)
            n1.agent.stop(one)
            n1.agent.start()
            wait_for(lambda: len([p for p in n1.agent.ports() if p.get("id") and not p.get("problem")]) == 2, 10, "all ports are served")
            check_limits(lab, n1.agent)
        # A new cloud: sockets, a tap, a tunnel device, programs.
        other = n1.pod("other")
        other.add(n1.net("vxvde://239.1.2.4/vni=9"))
        assert n1.agent.ctl_json("clouds")


def test_sockets():
    """the plugin's socket is for root, the status socket for its group, and another user gets no answer"""
    with Lab("sockets") as lab:
        n1 = lab.node("n1")
        agent = n1.start_agent()
        modes = {name: os.stat(f"{agent.run_dir}/{name}").st_mode & 0o777 for name in os.listdir(agent.run_dir)
                 if name.endswith(".sock")}
        assert modes == {"handoff.sock": 0o600, "hold.sock": 0o600, "status.sock": 0o660}, modes


if __name__ == "__main__":
    runner.main(globals())
