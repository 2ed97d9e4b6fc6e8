"""Two hundred pairs of ADD and DEL against one agent, many in flight at a time: no error, no leak, nothing given twice."""

import concurrent.futures
import os
import threading

from tests.lib import runner
from tests.lib.lab import Lab
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3"
PAIRS, AT_ONCE = 200, 25


def open_files(pid):
    """What a process has open: targets of its descriptors, sockets and the like counted by kind."""
    folder = f"/proc/{pid}/fd"
    kinds = []
    for fd in os.listdir(folder):
        try:
            kinds.append(os.readlink(os.path.join(folder, fd)).split(":[")[0])
        except FileNotFoundError:  # closed in between
            pass
    return sorted(kinds)


class Crowd:
    """Pods that come and go by `network`, each with a namespace of its own among `at_once`."""

    def __init__(self, node, network):
        self.node, self.network = node, network
        self.pods = [node.pod(f"p{i}") for i in range(AT_ONCE)]

    def run(self, pairs, check):
        """All begin each ADD together; the rest goes as it goes. `check(pod, result)` is called while the pod is
        attached. Returns what it returned for each."""
        start = threading.Barrier(AT_ONCE)

        def live(pod, numbers):
            seen = []
            for number in numbers:
                pod.container = f"container-{number}"
                start.wait(60)
                result = pod.add(self.network)
                seen.append(check(pod, result))
                self.network.delete(pod)
                assert pod.links().keys() == {"lo"}, f"DEL left {pod.links()}"
            return seen

        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            rows = pool.map(live, self.pods, [range(i, pairs, AT_ONCE) for i in range(AT_ONCE)])
            return [one for row in rows for one in row]


HOST_LOCAL = {"type": "host-local", "ranges": [
    [{"subnet": "198.51.100.0/24", "rangeStart": "198.51.100.32", "rangeEnd": "198.51.100.254"}]]}


def storm(mode, **section):
    with Lab("storm") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent({"clouds": [{"name": "blue", "vnl": VNL, "subnets": ["198.51.100.0/24"]}]})
        member = n2.vdens("member", VNL).join(9)
        network = n1.network({"cniVersion": "1.0.0", "name": "storm", "plugins": [
            {"type": "vxvde", "cloud": "blue", "mode": mode, **section}]})
        keeper = n1.pod("keeper")
        keeper.add(network)  # the cloud stays joined, and the member known
        keeper.reaches(member.ip4)
        crowd = Crowd(n1, network)
        held, lock = set(), threading.Lock()  # addresses and MACs of those that are attached now

        def check(pod, result):
            inside = next(i for i in result["interfaces"] if i.get("sandbox"))
            own = {inside["mac"], pod.ip4}
            with lock:
                assert not own & held, f"given twice: {own & held}"
                held.update(own)
            assert pod.ping(member.ip4, wait=10), f"{pod} has no way to {member.ip4}"
            with lock:
                held.difference_update(own)
            return inside["mac"]

        crowd.run(AT_ONCE, lambda pod, result: None)  # what is made once and stays
        before = n1.footprint(crowd.pods[0])
        files = open_files(n1.agent.process.pid)
        macs = crowd.run(PAIRS, check)
        assert len(macs) == PAIRS and len(set(macs)) == PAIRS, "each container has a MAC of its own"
        n1.expect_footprint(crowd.pods[0], before, f"{PAIRS} pairs of ADD and DEL")
        wait_for(lambda: open_files(n1.agent.process.pid) == files, 10,
                 f"the agent has as many files open as before: {files}")
        for line in n1.agent.process.output().splitlines():
            assert "level=error" not in line, line
        assert keeper.ping(member.ip4), "who was there before is not disturbed"


def test_veth():
    """200 pods of veth pairs with host-local, 25 at a time, each pings a member"""
    storm("veth", ipam=HOST_LOCAL)


def test_tap():
    """the same, of taps"""
    storm("tap", ipam=HOST_LOCAL)


def test_own_addresses():
    """the same, with addresses that the agent finds on the cloud"""
    storm("veth")


if __name__ == "__main__":
    runner.main(globals())
