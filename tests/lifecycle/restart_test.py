"""An agent that is restarted or killed: its pods continue, with the same ports, and no member is told that it left."""

import os
import signal

from tests.lib import runner
from tests.lib.lab import Lab
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3"
LEAVE = "udp[4:2] = 16"  # UDP header and vxvde header, no frame


def restarts(sig):
    with Lab("restart") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        n2.start_agent()
        network = n1.net(VNL)
        veth, tap, doomed, far = n1.pod("veth"), n1.pod("tap"), n1.pod("doomed"), n2.pod("far")
        veth.add(network)
        doomed.add(network)
        tap.add(n1.net(VNL, mode="tap"))
        far.add(n2.net(VNL))
        member = n2.vdens("member", VNL).join(1)
        for pod in (veth, tap):
            pod.reaches(far.ip4)
            pod.reaches(member.ip4)
        before = n1.agent.clouds()
        ports = {p["mac"] for p in n1.agent.ports()}
        with n2.capture("eth0", f"src {n1.ip4} and {LEAVE}") as leaves:
            code = n1.agent.stop(sig)
            assert code == (0 if sig == signal.SIGTERM else -sig), code
            network.delete(doomed)  # without an agent DEL must work nevertheless
            assert "eth0" not in doomed.links()
            n1.agent.start()
            for pod in (veth, tap):
                pod.reaches(far.ip4)
                pod.reaches(member.ip6)
                # Other members still know the node: same address, same port.
                far.reaches(pod.ip4)
                member.reaches(pod.ip4)
            after = n1.agent.clouds()
            assert [c["unicastPort"] for c in after] == [c["unicastPort"] for c in before]
            left = {p["mac"] for p in n1.agent.ports()}
            assert left < ports and len(left) == 2, f"deleted while the agent was down: {ports} -> {left}"
        assert not leaves, leaves
        # A new pod, and the peer of the old one, on the objects that the restarted agent adopted.
        network.add(doomed)
        doomed.reaches(far.ip4)
        network.delete(doomed)
        network.delete(veth)
        assert veth.links().keys() == {"lo"}


def test_sigterm():
    """SIGTERM, then start"""
    restarts(signal.SIGTERM)


def test_sigkill():
    """kill -9, then start"""
    restarts(signal.SIGKILL)


def test_holder():
    """objects kept for a restart end with their pod, also when the DEL came without an agent, and with the last pod"""
    with Lab("holder") as lab:
        n1 = lab.node("n1")
        agent = n1.start_agent()
        network = n1.net(VNL)

        def holder():
            return [pid for pid in lab.programs() if process_name(pid) == "vxvde-holder"]

        def kept():
            return len(os.listdir(f"/proc/{holder()[0]}/fd"))

        wait_for(lambda: len(holder()) == 1, 10, "an agent has a holder")
        nothing = kept()
        first, second = n1.pod("first"), n1.pod("second")
        first.add(network)
        lab.settle()
        wait_for(lambda: kept() > nothing, 10, "a pod's and a cloud's descriptors are kept")
        with_one = kept()
        second.add(network)
        lab.settle()
        wait_for(lambda: kept() == with_one + 1, 10, "a second pod's as well")
        agent.stop(signal.SIGKILL)
        network.delete(second)
        agent.start()
        wait_for(lambda: kept() == with_one, 10, "a pod that ended without an agent leaves nothing there")
        assert len(holder()) == 1, "the next agent has the same holder"
        network.delete(first)
        wait_for(lambda: kept() == nothing, 10, "nothing is kept")
        agent.stop()
        wait_for(lambda: not holder(), 10, "a holder without anything to hold ends")
        assert "hold.sock" not in agent.files()


def process_name(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            return f.read().strip()
    except OSError:  # it has ended
        return None


def test_last_del_leaves():
    """the last DEL of a cloud sends a leave, and other members forget the node"""
    with Lab("leave") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        n2.start_agent()
        network = n1.net(VNL)
        first, last, far = n1.pod("first"), n1.pod("last"), n2.pod("far")
        first.add(network)
        last.add(network)
        far.add(n2.net(VNL))
        far.reaches(first.ip4)
        far.reaches(last.ip4)
        address = f"{n1.ip4}:{n1.agent.clouds()[0]['unicastPort']}"
        assert [p["address"] for p in n2.agent.peers()] == [address]
        with n2.capture("eth0", f"src {n1.ip4} and {LEAVE}") as leaves:
            network.delete(first)
            far.reaches(last.ip4)
            assert [p["address"] for p in n2.agent.peers()] == [address], "one pod is left"
            network.delete(last)
            wait_for(lambda: not n2.agent.peers(), 10, "the other node forgets a peer that left")
        assert len(leaves) == 1, leaves
        assert not n1.agent.clouds() and not n1.agent.ports()
        assert {e["mac"] for e in n2.agent.fdb()} == {far.mac("eth0")}


if __name__ == "__main__":
    runner.main(globals())
