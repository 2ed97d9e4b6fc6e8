"""kill -9 of the CNI binary at every step of ADD: afterwards DEL, or a second ADD, works, and nothing is left.

A step is a system call with an effect that others can see (lib/fault_at.cc); the walk ends when ADD survives it."""

import signal

from tests.lib import runner
from tests.lib.cni import execute
from tests.lib.lab import Lab, program
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3"
KILLED = -signal.SIGKILL


def walk(mode, afterwards):
    """Kills ADD at step 1, 2, ... Each time `afterwards`(network, pod) must restore the previous state."""
    with Lab("kill") as lab:
        node = lab.node("n1")
        node.start_agent()
        network, pod = node.net(VNL, mode=mode), node.pod("pod")
        network.add(pod)  # the agent remembers the cloud's port, host-local the last address
        network.delete(pod)
        wait_for(lambda: not node.agent.clouds(), 5, "the cloud is left")
        before = node.footprint(pod)
        config = next(network.configs())
        environment = network.environment(pod.container, pod.path, "eth0")
        for step in range(1, 2000):
            done = execute(node, program("cni/vxvde"), "ADD", config, environment=environment,
                           prefix=[program("tests/fault_at"), "kill", step])
            if done.returncode != KILLED:
                break
            where = done.stderr.strip()
            try:
                afterwards(network, pod)
            except AssertionError as error:
                raise AssertionError(f"{where}: {error}") from error
            node.expect_footprint(pod, before, where)
        assert done.returncode == 0, f"ADD fails by itself when traced: {done.stdout} {done.stderr}"
        assert step > 20, f"only {step} steps: {done.stderr}"
        network.delete(pod)
        node.expect_footprint(pod, before, "DEL of what survived")
        print(f"killed at each of {step - 1} steps")


def delete(network, pod):
    network.delete(pod)


def add_again(network, pod):
    network.add(pod)
    assert len(pod.addresses("eth0")) == 2 and len(network.node.leases()) == 2
    network.delete(pod)


def test_veth_then_del():
    """veth: killed ADD, DEL"""
    walk("veth", delete)


def test_tap_then_del():
    """tap: killed ADD, DEL"""
    walk("tap", delete)


def test_veth_then_add():
    """veth: killed ADD, a second ADD, DEL"""
    walk("veth", add_again)


def test_tap_then_add():
    """tap: killed ADD, a second ADD, DEL"""
    walk("tap", add_again)


if __name__ == "__main__":
    runner.main(globals())
