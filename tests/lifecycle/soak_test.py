"""Thousands of pods, 20 at once, while the agent is killed every few seconds: nothing of them is left.

  SOAK_CYCLES=10000 tests/py.sh tests/lifecycle/soak_test.py [test...]

VXVDE_TEST_AGENT names another build of the agent. With one for tsan, any report of tsan fails the test:

  bazel build --config=tsan //agent:vxvde-agent && cp -L bazel-bin/agent/vxvde-agent /tmp/agent-tsan
  bazel build //agent:vxvde-agent //agent:vxvdectl //cni:vxvde
  VXVDE_TEST_AGENT=/tmp/agent-tsan TSAN_OPTIONS=ignore_noninstrumented_modules=1 SOAK_CYCLES=1000 tests/py.sh tests/lifecycle/soak_test.py
"""

import collections
import concurrent.futures
import contextlib
import glob
import json
import os
import random
import re
import signal
import threading
import time

from tests.lib import runner
from tests.lib.addresses import leased
from tests.lib.cni import CniError, execute
from tests.lib.lab import Lab
from tests.lib.pings import Ping, go_on
from tests.lib.process import memory, open_files, run, steady, wait_for

CYCLES = int(os.environ.get("SOAK_CYCLES", "100"))
OTHER_AGENT = "VXVDE_TEST_AGENT" in os.environ
WORKERS = 20
TRY_AGAIN_LATER = 11
# Clouds of the node under test. The quiet pods are in blue, the node itself is in red; green has no permanent member.
CLOUDS = [{"name": "blue", "vnl": "vxvde://239.1.2.3", "subnets": ["198.51.100.0/24"]},
          {"name": "red", "vnl": "vxvde://239.1.2.4", "subnets": ["198.18.0.0/24"], "gateway": True},
          {"name": "green", "vnl": "vxvde://239.1.2.5", "subnets": ["198.18.1.0/24"]}]
# The other node forgets stations soon, so that the test can wait for that.
EXPIRY = 3
FORGETFUL = [{**CLOUDS[0], "vnl": f"{CLOUDS[0]['vnl']}/expiretime={EXPIRY}"}]
LIVES = (0.5, 3)  # life of an agent, in seconds
LEAST_LIVES = 4  # the minimum number in a short soak
ABSENCES = (0, 0.4)  # seconds until the next start


class Scene:
    """A node with quiet pods that ping each other, and a second node."""

    def __init__(self, lab):
        self.lab = lab
        self.n1, self.n2 = lab.node("n1"), lab.node("n2")
        self.agent = self.n1.start_agent({"clouds": CLOUDS})
        self.n2.start_agent({"clouds": FORGETFUL})
        self.near, self.beside, self.tap, self.far = (
            self.n1.pod("near"), self.n1.pod("beside"), self.n1.pod("tap"), self.n2.pod("far"))
        self.near.add(self.net("blue"))
        self.beside.add(self.net("blue"))
        self.tap.add(self.net("blue", mode="tap"))
        self.far.add(self.net("blue", self.n2))
        wait_for(lambda: "vx-red" in self.n1.links(), 20, "the node has its port in red")
        self.near.reaches(self.beside.ip4)
        self.far.reaches(self.near.ip4)
        self.far.reaches(self.tap.ip4)
        lab.settle()
        self.quiet = [self.near, self.beside, self.tap, self.far]
        for pod in self.quiet:
            pod.station = pod.mac("eth0")
        self.pods = [self.n1.pod(f"p{number}") for number in range(WORKERS)]

    def net(self, cloud, node=None, mode="veth"):
        return (node or self.n1).network({"cniVersion": "1.0.0", "name": f"{cloud}-{mode}", "plugins": [
            {"type": "vxvde", "cloud": cloud, "mode": mode, "capabilities": {"portMappings": True}}]})

    def holder(self):
        for pid in self.lab.programs():
            with open(f"/proc/{pid}/comm", encoding="utf-8") as comm, open(f"/proc/{pid}/cmdline", encoding="utf-8") as line:
                if comm.read().strip() == "vxvde-holder" and self.agent.run_dir in line.read():
                    return pid
        return None

    def filters(self):
        """Programs of the kernel datapath, by interface."""
        shown = {name: self.n1.run("tc", "filter", "show", "dev", name, "ingress", check=False).stdout
                 for name in self.n1.links() if name != "lo"}
        return {name: text.count("direct-action") for name, text in shown.items()}

    def maps(self):
        """The number of entries in the kernel datapath's tables that vary with ports and clouds, and of stations there that the
        agent does not know (any more)."""
        found = {}
        for info in glob.glob(f"/proc/{self.agent.process.pid}/fdinfo/*"):
            with contextlib.suppress(FileNotFoundError), open(info, encoding="ascii") as f:
                if number := re.search(r"map_id:\s+(\d+)", f.read()):
                    name = json.loads(run(["bpftool", "-j", "map", "show", "id", number[1]]).stdout)["name"]
                    if name not in ("fp_stations", "fp_ports", "fp_locals"):
                        continue
                    entries = json.loads(run(["bpftool", "-j", "map", "dump", "id", number[1]]).stdout)
                    if name == "fp_stations":
                        macs = {":".join(byte[2:] for byte in entry["key"][:6]) for entry in entries}
                        found[name] = sorted(macs - {entry["mac"] for entry in self.agent.fdb()})
                        assert len(macs) >= len(self.quiet), f"the kernel knows only {macs}"
                    else:
                        found[name] = len(entries)
        return found

    def left(self):
        """Everything that pods may leave behind, for comparison."""
        status = self.agent.ctl_json("status")
        leases = {name: leased(node) for name, node in (("n1", self.n1), ("n2", self.n2))}
        return {"links of the node": sorted(self.n1.links()),
                "links of pods": [sorted(pod.links()) for pod in self.pods],
                "files": self.agent.files(), "leases": leases,
                "counts": {key: status.get(key, 0) for key in ("cloudCount", "portCount", "peerCount", "problemCount")},
                "fdb": sorted((e["cloud"], e["mac"]) for e in self.agent.fdb() if self.is_pod(e)),
                "fdb of n2": self.known_to_n2(),
                "maps": self.maps(), "filters": self.filters(), "nft": re.sub(r"packets \d+ bytes \d+", "", self.n1.run("nft", "list", "ruleset").stdout),
                "open": open_files(self.agent.process.pid), "held": open_files(self.holder())}

    def own(self):
        """The agent's open descriptors, and its tables in the kernel."""
        return open_files(self.agent.process.pid), self.maps()

    def threads(self):
        return len(os.listdir(f"/proc/{self.agent.process.pid}/task"))

    def is_pod(self, entry):
        """Of the other node only the quiet pod; agents have MACs of their own, one of which differs each time."""
        where = entry["location"]
        return where.get("portName") != "(agent)" and (not where.get("peer") or entry["mac"] == self.far.station)

    def known_to_n2(self):
        """The quiet pods among the stations, and whether there are more stations than theirs and those of agents: two MACs each,
        and those of the preceding one or two agents."""
        known, quiet = {entry["mac"] for entry in self.n2.agent.fdb()}, {pod.station for pod in self.quiet}
        return sorted(quiet & known), len(known - quiet) > 8

    def settled(self):
        return steady(self.left, timeout=90, seconds=EXPIRY + 2)

    def expect_left(self, before, timeout=90):
        """Waits until the state is as before: spare addresses are claimed anew, stations expire on the other node."""
        def different():
            now = self.left()
            return {key: f"{before[key]} -> {now[key]}" for key in now if now[key] != before[key]}
        last = {}

        def same():
            nonlocal last
            last = different()
            return not last
        try:
            wait_for(same, timeout, "")
        except AssertionError:
            raise AssertionError("\n".join(f"{key}: {value}" for key, value in last.items())) from None

    def expect_sound(self):
        """No log contains an error."""
        for name in ("n1", "n2"):
            with open(self.lab.log(f"{name}-agent"), encoding="utf-8", errors="replace") as log:
                bad = [line for line in log if "level=error" in line or "Sanitizer" in line]
            assert not bad, f"agent of {name}: {''.join(bad[:5])}"


class Crowd:
    """Workers, each with a pod whose container is a new one every time."""

    def __init__(self, scene, cycles, killer=None):
        self.scene, self.cycles, self.killer = scene, cycles, killer
        self.counts = collections.Counter()
        self._lock = threading.Lock()
        self._started, self._failed, self._begin = 0, False, time.monotonic()

    def run(self):
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for done in [pool.submit(self._work, number, pod) for number, pod in enumerate(self.scene.pods)]:
                done.result()
        return time.monotonic() - self._begin

    def _next(self):
        with self._lock:
            if self._failed or self._started >= self.cycles and (self.killer is None or self.killer.is_content()):
                return False
            self._started += 1
            if self._started % 500 == 0:
                print(f"  {self._started} cycles in {time.monotonic() - self._begin:.0f} s: {dict(self.counts)}", flush=True)
            return True

    def _count(self, what):
        with self._lock:
            self.counts[what] += 1

    def _work(self, number, pod):
        dice = random.Random(number)
        while self._next():
            try:
                self._cycle(dice, number, pod)
            except BaseException:
                with self._lock:
                    self._failed = True  # the others end
                raise

    def _cycle(self, dice, number, pod):
        pod.container = f"{self.scene.lab.name}-{number}-{dice.getrandbits(64):x}"
        cloud = dice.choice(["blue", "blue", "blue", "red", "green"])
        network = self.scene.net(cloud, mode=dice.choice(["veth", "veth", "tap"]))
        wishes = {}
        if cloud == "red" and dice.random() < 0.5:
            wishes["portMappings"] = [{"hostPort": 20000 + number, "containerPort": 80, "protocol": "tcp"}]
        self._add(dice, network, pod, wishes)
        if dice.random() < 0.1:
            self._check(network, pod)
        if cloud == "blue" and dice.random() < 0.1:
            pod.reaches(self.scene.far.ip4, timeout=60)
            self._count("reached the other node")
        # Another DEL is permitted at any time.
        for _ in range(dice.choice([1, 1, 1, 2])):
            network.delete(pod, capability_args=wishes)
        self._count("DEL")

    def _add(self, dice, network, pod, wishes):
        deadline = time.monotonic() + 60
        while True:
            try:
                pod.add(network, capability_args=wishes)
                return self._count("ADD")
            except CniError as error:
                assert self.killer and error.code == TRY_AGAIN_LATER, error
                assert time.monotonic() < deadline, f"no ADD for a minute: {error}"
            self._count("ADD without an agent")
            assert pod.links().keys() == {"lo"}, f"a failed ADD left {pod.links()}"
            if dice.random() < 0.5:  # kubelet does, podman does not
                network.delete(pod, capability_args=wishes)
            time.sleep(dice.uniform(0.01, 0.1))

    def _check(self, network, pod):
        config = {**next(network.configs()), "prevResult": network.results[pod.container, "eth0"]}
        done = execute(network.node, network.program("vxvde"), "CHECK", config,
                       environment=network.environment(pod.container, pod.path, "eth0"))
        if done.returncode != 0:
            error = CniError("CHECK", "vxvde", done)
            assert self.killer and error.code == TRY_AGAIN_LATER, error
        self._count("CHECK" if done.returncode == 0 else "CHECK without an agent")


class Killer(threading.Thread):
    """Ends the agent every few seconds, mostly without notice, and starts it again a moment later."""

    def __init__(self, agent):
        super().__init__()
        self.agent, self.starts, self.error = agent, [], None
        self._end = threading.Event()
        self.start()

    def run(self):
        dice = random.Random(0)
        try:
            while not self._end.wait(dice.uniform(*LIVES)):
                assert self.agent.process.alive, f"the agent ended by itself: {self.agent.process.returncode}"
                self.agent.process.stop(dice.choice([signal.SIGKILL] * 3 + [signal.SIGTERM]), timeout=60)
                time.sleep(dice.uniform(*ABSENCES))
                begin = time.monotonic()
                self.agent.start(timeout=60)
                self.starts.append(time.monotonic() - begin)
        except BaseException as error:
            self.error = error

    def is_content(self):
        return len(self.starts) >= LEAST_LIVES or not self.is_alive()

    def end(self):
        self._end.set()
        self.join()
        if self.error is not None:
            raise self.error


def start_again(agent):
    agent.stop(signal.SIGKILL)
    agent.start(timeout=60)


def test_killed():
    """cycles while the agent is killed every few seconds: no link, lease, file, descriptor, rule or station is left, no ping
    lost"""
    with Lab("soak") as lab:
        scene = Scene(lab)
        Crowd(scene, 2 * WORKERS).run()  # creates the objects that are created once and stay
        start_again(scene.agent)
        pings = [Ping(scene.near, scene.beside.ip4), Ping(scene.far, scene.near.ip4), Ping(scene.far, scene.tap.ip4)]
        go_on(pings, 20)
        before, threads = scene.settled(), scene.threads()
        killer = Killer(scene.agent)
        crowd = Crowd(scene, CYCLES, killer)
        try:
            took = crowd.run()
        finally:
            killer.end()
        scene.expect_left(before)
        # gRPC sometimes has a few more.
        assert scene.threads() <= threads + 4, f"{threads} threads -> {scene.threads()}"
        start_again(scene.agent)
        scene.expect_left(before)
        go_on(pings, 20)
        results = [(ping.what, *ping.end()) for ping in pings]
        print(f"  {crowd.counts['DEL']} cycles in {took:.0f} s, {len(killer.starts)} agents, ready after {max(killer.starts, default=0):.1f} s at most: {dict(crowd.counts)}; "
              + "; ".join(f"{what}: {sent} sent, {len(lost)} lost" for what, sent, lost, _ in results), flush=True)
        lost = {what: missing[:20] for what, _, missing, _ in results[:2] if missing}
        assert not lost, f"echoes without an answer: {lost}"
        scene.expect_sound()


def test_memory():
    """one agent for a fifth of the cycles: the second half of them costs no memory"""
    with Lab("memory") as lab:
        scene = Scene(lab)
        Crowd(scene, 2 * WORKERS).run()
        before, threads = steady(scene.own), scene.threads()
        sizes, cycles = [], max(CYCLES // 20, WORKERS)
        for _ in range(4):
            Crowd(scene, cycles).run()
            sizes.append(memory(scene.agent.process.pid))
        print(f"  after each {cycles} cycles: {sizes} KiB", flush=True)
        wait_for(lambda: scene.own() == before, 30, f"the agent has open what it had: {before}")
        assert scene.threads() <= threads + 4, f"{threads} threads -> {scene.threads()}"
        # A sanitizer manages memory differently.
        assert sizes[3] - sizes[1] < 256 or OTHER_AGENT, f"the agent grows: {sizes} KiB"
        scene.expect_sound()


if __name__ == "__main__":
    runner.main(globals())
