"""The programs of the previous version with those of this tree, in every pair, and an upgrade and a downgrade of the agent
under traffic. To be run by hand, with a folder that contains vxvde and vxvde-agent of that version:

  VXVDE_PREVIOUS=FOLDER tests/py.sh tests/lifecycle/previous_test.py"""

import os
import signal

from tests.lib import runner
from tests.lib.cni import CniError, execute
from tests.lib.lab import Agent, Lab, program

VNL = "vxvde://239.1.2.3"
FOLDER = os.environ.get("VXVDE_PREVIOUS", "")
PLUGIN = {"previous": os.path.join(FOLDER, "vxvde"), "this": program("cni/vxvde")}
AGENT = {"previous": os.path.join(FOLDER, "vxvde-agent"), "this": program("agent/vxvde-agent")}


class Plugin:
    """Calls one version's plugin for the networks of a node."""

    def __init__(self, version, node, mode):
        self.path, self.network = PLUGIN[version], node.net(VNL, mode=mode)

    def call(self, command, pod, **more):
        environment = self.network.environment(pod.container, pod.path, "eth0")
        config = {**next(self.network.configs()), **more}
        done = execute(self.network.node, self.path, command, config, environment=environment)
        if done.returncode != 0:
            raise CniError(command, self.path, done)
        return done.stdout


def start(node, version):
    node.agent = node.agent or Agent(node, {"node": node.name})
    node.agent.program = AGENT[version]
    return node.agent.start()


def test_pairs():
    """each plugin with each agent, and DEL by the other plugin"""
    for agent_version in AGENT:
        with Lab("previous") as lab:
            n1, n2 = lab.node("n1"), lab.node("n2")
            agent = start(n1, agent_version)
            n2.start_agent()
            far = n2.pod("far")
            far.add(n2.net(VNL))
            for mode in ("veth", "tap"):
                for by, ended_by in (("previous", "this"), ("this", "previous")):
                    pod = n1.pod(f"{mode}-{by}")
                    Plugin(by, n1, mode).call("ADD", pod)
                    pod.reaches(far.ip4)
                    Plugin(ended_by, n1, mode).call("DEL", pod)
                    assert pod.links().keys() == {"lo"} and not agent.ports(), f"{mode}: {by}, then {ended_by}"


def test_upgrade_and_downgrade():
    """pods keep their traffic over previous -> this -> previous -> this, and each version's DEL ends the attachment of the
    other's ADD"""
    with Lab("previous") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        agent = start(n1, "previous")
        n2.start_agent()
        far = n2.pod("far")
        far.add(n2.net(VNL))
        pods = {mode: n1.pod(mode) for mode in ("veth", "tap")}
        for mode, pod in pods.items():
            Plugin("previous", n1, mode).call("ADD", pod)
        unicast = [cloud["unicastPort"] for cloud in agent.clouds()]
        for version, sig in (("this", signal.SIGTERM), ("previous", signal.SIGKILL), ("this", signal.SIGKILL)):
            agent.stop(sig)
            start(n1, version)
            assert "set aside" not in agent.process.output()
            assert len(agent.ports()) == 2 and [cloud["unicastPort"] for cloud in agent.clouds()] == unicast
            for pod in pods.values():
                pod.reaches(far.ip4)
        for mode, pod in pods.items():
            Plugin("previous", n1, mode).call("DEL", pod)
            assert pod.links().keys() == {"lo"}
        assert not agent.ports() and not agent.clouds()


if __name__ == "__main__":
    runner.main(globals(), unable=None if FOLDER else "VXVDE_PREVIOUS names no folder")
