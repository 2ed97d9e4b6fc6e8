"""Two nodes in 64 clouds: more groups than one socket may join at once, and each pod has only its own cloud.

bench/scale.py measures the cost of many pods and many stations."""

import concurrent.futures

from tests.lib import runner
from tests.lib.lab import Lab

CLOUDS = 64


def test_clouds():
    """a pod in each cloud on both nodes: it reaches its own cloud, first by the group, and also after the agents were replaced"""
    with Lab("scale") as lab:
        nodes = [lab.node("n1"), lab.node("n2")]
        clouds = [{"name": f"c{n}", "vnl": f"vxvde://239.1.2.{n + 1}"} for n in range(CLOUDS)]
        for node in nodes:
            node.start_agent({"clouds": clouds})

        def add(node, number):
            pod = node.pod(f"p{number}")
            # The same two addresses in every cloud.
            network = node.network({"cniVersion": "1.0.0", "name": f"c{number}", "plugins": [
                {"type": "vxvde", "cloud": f"c{number}", "ipam": {},
                 "args": {"cni": {"ips": [f"198.51.100.{node.number}/24"]}}}]})
            pod.add(network)
            return pod

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            here, there = (list(pool.map(lambda n, node=node: add(node, n), range(CLOUDS))) for node in nodes)
            other = there[0].ip4
            list(pool.map(lambda pod: pod.reaches(other, timeout=30), here))
            for pod, peer in zip(here, there):
                neighbours = {n["lladdr"] for n in pod.ip_json("neigh", "show", other) if "lladdr" in n}
                assert neighbours == {peer.mac("eth0")}, f"{pod} has found {neighbours}"
            for node in nodes:
                node.agent.stop()
                node.agent.start()
                assert len(node.agent.clouds()) == CLOUDS
            list(pool.map(lambda pod: pod.reaches(other, timeout=30), here))


if __name__ == "__main__":
    runner.main(globals())
