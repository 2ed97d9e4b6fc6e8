"""Pods, ADDs and agents that died silently. The agent repairs the state at its start and while it runs; it leaves objects alone
that are foreign or cannot be identified."""

import glob
import os
import re
import signal

from tests.lib import runner
from tests.lib.cni import execute
from tests.lib.lab import CNI_PLUGINS, Lab, program
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3"
KILLED = -signal.SIGKILL


def attached(agent):
    return sorted(port["attachment"]["containerId"] for port in agent.ports())


def ended(agent):
    return sorted(os.path.basename(path) for path in glob.glob(f"{agent.run_dir}/ended/*"))


def record(agent, pod):
    """Path of the record of `pod`'s attachment."""
    paths = [path for path in glob.glob(f"{agent.run_dir}/attachments/*.json")
             if f'"container_id": "{pod.container}"' in open(path, encoding="utf-8").read()]
    assert len(paths) == 1, paths
    return paths[0]


def look(agent):
    """A reload triggers a comparison at once; otherwise there is one each minute."""
    agent.reload(agent.config)


class Assassin:
    """A network whose IPAM plugin kills the agent, once it is armed, and then acts as host-local: between an ADD's plan and
its link."""

    def __init__(self, lab, node):
        self.armed = lab.file("armed")
        folder = lab.file("plugins")
        os.makedirs(folder)
        script = os.path.join(folder, "assassin")
        with open(script, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\n[ -e {self.armed} ] && [ $CNI_COMMAND = ADD ] && kill -9 $(cat {self.armed})\n"
                    f"exec {CNI_PLUGINS}/host-local\n")
        os.chmod(script, 0o755)
        config = next(node.net(VNL).configs())
        config["ipam"]["type"] = "assassin"
        self.node, self.config = node, config
        self.plugin_dirs = [folder, CNI_PLUGINS]

    def arm(self):
        with open(self.armed, "w", encoding="utf-8") as f:
            f.write(str(self.node.agent.process.pid))

    def kill_add(self, pod, step):
        """An ADD that is killed at that step."""
        done = execute(self.node, program("cni/vxvde"), "ADD", self.config, prefix=[program("tests/fault_at"), "kill", step],
                       environment={"CNI_CONTAINERID": pod.container, "CNI_NETNS": pod.path, "CNI_IFNAME": "eth0",
                                    "CNI_PATH": ":".join(self.plugin_dirs)})
        assert done.returncode == KILLED, f"{done.stdout} {done.stderr}"


def ours(node):
    return sorted(name for name, link in node.links().items() if re.match("vxvde:[0-9a-v]{13}", link.get("ifalias", "")))


def test_pods_that_end_without_del():
    """a pod whose interface was set down and deleted, and pods that died without an agent: ended, for GC or DEL"""
    with Lab("reconcile") as lab:
        node = lab.node("n1")
        agent = node.start_agent()
        network = node.net(VNL)
        pods = {name: node.pod(name) for name in ("stays", "cut", "dead")}
        for pod in pods.values():
            pod.add(network)
        # The packet socket of a link that goes down and is then deleted may report only the former.
        for command in (("set", "eth0", "down"), ("del", "eth0")):
            pods["cut"].ip("link", *command)
        look(agent)
        wait_for(lambda: len(agent.ports()) == 2, 10, "the one without an interface is ended")
        agent.stop(signal.SIGKILL)
        pods["dead"].remove_netns()
        agent.start()
        assert attached(agent) == [pods["stays"].container]
        assert len(ended(agent)) == 2, "their leases are still to be given back"
        for name in ("cut", "dead"):
            network.delete(pods[name])
        assert not ended(agent) and len(node.leases()) == 2
        node.ping(pods["stays"].ip4)
        network.delete(pods["stays"])


def test_taps():
    """the agent keeps a tap's namespace alive: it is dead only when its path is gone and no process is in it"""
    with Lab("reconcile") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        agent = n1.start_agent()
        n2.start_agent()
        network = n1.net(VNL, mode="tap")
        pods = {name: n1.pod(name) for name in ("dead", "nameless", "stays")}
        for pod in pods.values():
            pod.add(network)
        far = n2.pod("far")
        far.add(n2.net(VNL))
        inside = pods["nameless"].start("inside", "sleep", 1000)
        wait_for(lambda: pods["nameless"].run("ip", "netns", "pids", os.path.basename(pods["nameless"].path)).stdout, 10,
                 "a process is in it")
        for name in ("dead", "nameless"):
            pods[name].remove_netns()
        look(agent)
        living = sorted(pods[name].container for name in ("nameless", "stays"))
        wait_for(lambda: attached(agent) == living, 20, "the dead one is ended, in two looks, which the other one has lived through")
        far.reaches(pods["nameless"].ip4)
        agent.stop(signal.SIGKILL)
        agent.start()
        assert attached(agent) == living, "a path that leads nowhere is not the pod's end for the next agent either"
        far.reaches(pods["nameless"].ip4)
        inside.stop()
        look(agent)
        wait_for(lambda: attached(agent) == [pods["stays"].container], 20, "nobody is left in it")
        assert len(ended(agent)) == 2
        for pod in pods.values():
            network.delete(pod)
        assert not ended(agent) and not n1.leases() and not agent.ports()


def test_links_of_adds_that_died():
    """a killed ADD leaves a link: the agent, or the next one, deletes it; a foreign link stays"""
    with Lab("reconcile") as lab:
        node = lab.node("n1")
        agent = node.start_agent()
        pod, stays = node.pod("pod"), node.pod("stays")
        stays.add(node.net(VNL))
        before = node.footprint(stays)
        # Similar, but foreign: one of another agent with another run-dir, and two with a similar form.
        for name, alias in (("vx0123456789abc", "vxvde:0123456789abc"), ("other0", "vxvde:"), ("vxother", "vxvde-like")):
            node.ip("link", "add", name, "type", "bridge")
            node.ip("link", "set", name, "alias", alias)
        strangers = {"vx0123456789abc", "other0", "vxother"}

        network = Assassin(lab, node)
        for step in range(5, 100):
            network.kill_add(pod, step)
            wait_for(lambda: not os.listdir(f"{agent.run_dir}/planned") and len(ours(node)) == 2, 10,
                     f"nothing of the ADD is left: {node.links().keys()}")
            if "link deleted" in agent.process.output():
                break
        agent.process.says("link deleted")

        for later in range(step, step + 50):  # the number of waits for the IPAM plugin varies
            network.arm()
            network.kill_add(pod, later)
            assert agent.process.wait() == -signal.SIGKILL
            assert len(os.listdir(f"{agent.run_dir}/planned")) == 1, "it is noted before there is a link"
            if len(ours(node)) == 3:
                break
            agent.start()
        assert len(ours(node)) == 3, "plugin and agent have died, and left a link"
        agent.start()
        wait_for(lambda: len(ours(node)) == 2 and not os.listdir(f"{agent.run_dir}/planned"), 10,
                 f"the next agent deletes it: {node.links().keys()}")
        agent.process.says("link deleted")
        assert strangers < node.links().keys()
        agent.process.says("unknown link")
        for name in strangers:
            node.ip("link", "del", name)
        for lease in set(node.leases()) - set(before["leases"]):
            os.remove(lease)  # host-local's leases: only a DEL can know them
        node.expect_footprint(stays, before, "all of the killed ADDs")
        assert "eth0" not in pod.links()


def test_torn_records():
    """torn and lost files of the run-dir: pods keep their traffic, and each problem is reported and counted"""
    with Lab("reconcile") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        agent = n1.start_agent({"metrics": "127.0.0.1:9478"})
        n2.start_agent()
        network, tap = n1.net(VNL), n1.net(VNL, mode="tap")
        pods = {name: n1.pod(name) for name in ("torn", "empty", "lost", "tap")}
        for name, pod in pods.items():
            (tap if name == "tap" else network).add(pod)
        far = n2.pod("far")
        far.add(n2.net(VNL))
        before, clouds = attached(agent), agent.clouds()
        files = {name: record(agent, pod) for name, pod in pods.items()}
        texts = {name: open(path, encoding="utf-8").read() for name, path in files.items()}
        agent.stop(signal.SIGKILL)
        for name, text in (("torn", texts["torn"][:100]), ("empty", ""), ("tap", texts["tap"].replace("eth0", "eth1"))):
            with open(files[name], "w", encoding="utf-8") as f:
                f.write(text)
        os.remove(files["lost"])
        with open(f"{agent.run_dir}/clouds.json", "w", encoding="utf-8") as f:
            f.write("{")
        agent.start()
        assert attached(agent) == before
        assert [c["unicastPort"] for c in agent.clouds()] == [c["unicastPort"] for c in clouds]
        for pod in pods.values():
            pod.reaches(far.ip4)
        assert {name: open(path, encoding="utf-8").read() for name, path in files.items()} == texts
        said = agent.process.output()
        assert said.count("set aside") == 4 and said.count("record rebuilt") == 4, said
        samples = n1.run("curl", "-sS", "http://127.0.0.1:9478/metrics").stdout
        for sample in ('vxvde_reconciled_total{what="record"} 4', "vxvde_unreadable_files_total 4", "vxvde_unknown_links 0"):
            assert sample in samples, f"{sample}: {samples}"
        for name, pod in pods.items():
            (tap if name == "tap" else network).delete(pod)
        assert not agent.ports() and not agent.clouds()
        assert not os.listdir(f"{agent.run_dir}/copies")


if __name__ == "__main__":
    runner.main(globals())
