"""Two hundred ADDs, and two hundred DELs, at once against one agent: no error, no leak, no duplicate address."""

import concurrent.futures
import threading

from tests.lib import runner
from tests.lib.lab import Lab
from tests.lib.process import open_files, steady, wait_for

VNL = "vxvde://239.1.2.3"
PODS = 200


class Crowd:
    """Pods that are attached to and detached from `network`, each in a namespace of its own."""

    def __init__(self, node, network):
        self.network = network
        self.pods = [node.pod(f"p{i}") for i in range(PODS)]

    def at_once(self, act):
        """Runs act(pod) for all pods at once; returns the results."""
        start = threading.Barrier(PODS)

        def one(pod):
            start.wait(60)
            return act(pod)

        with concurrent.futures.ThreadPoolExecutor(PODS) as pool:
            return list(pool.map(one, self.pods))

    def add(self, pod):
        return pod.add(self.network)

    def delete(self, pod):
        self.network.delete(pod)
        assert pod.links().keys() == {"lo"}, f"DEL left {pod.links()}"

    def come_and_go(self, pod):
        self.add(pod)
        self.delete(pod)


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
        crowd.at_once(crowd.come_and_go)  # this also creates the objects that are created once and stay
        before = n1.footprint(crowd.pods[0])
        files = steady(lambda: open_files(n1.agent.process.pid))  # the agent closes ports a moment after their DEL
        results = crowd.at_once(crowd.add)
        for what, had in (("MAC", {pod.mac("eth0") for pod in crowd.pods}),
                          ("address", {pod.ip4 for pod in crowd.pods}),
                          ("MAC in results", {i["mac"] for r in results for i in r["interfaces"] if i.get("sandbox")})):
            assert len(had) == PODS, f"{PODS} pods have {len(had)} of {what}"
        for pod, reached in zip(crowd.pods, crowd.at_once(lambda pod: pod.ping(member.ip4, wait=10))):
            assert reached, f"{pod} has no way to {member.ip4}"
        crowd.at_once(crowd.delete)
        n1.expect_footprint(crowd.pods[0], before, f"{PODS} ADDs and DELs at once")
        wait_for(lambda: open_files(n1.agent.process.pid) == files, 10,
                 f"the agent has as many files open as before: {files}")
        for line in n1.agent.process.output().splitlines():
            assert "level=error" not in line, line
        assert keeper.ping(member.ip4), "who was there before is not disturbed"


def test_veth():
    """200 pods of veth pairs with host-local start at once, ping a member at once, and end at once"""
    storm("veth", ipam=HOST_LOCAL)


def test_tap():
    """the same with taps"""
    storm("tap", ipam=HOST_LOCAL)


def test_own_addresses():
    """the same with addresses that the agent assigns"""
    storm("veth")


if __name__ == "__main__":
    runner.main(globals())
