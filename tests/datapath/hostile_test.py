"""An attacker on the LAN who sends what no member would, as fast as possible, beside regular traffic of two pods on two nodes.

A longer run by hand: HOSTILE_SECONDS=60 tests/py.sh tests/datapath/hostile_test.py"""

import json
import os
import re
import threading

from tests.lib import runner
from tests.lib.lab import Lab, program
from tests.lib.process import wait_for

VNL, GROUP, GROUP_PORT, VNI = "vxvde://239.1.2.3/vni=42", "239.1.2.3", 14789, 42
SECONDS = float(os.environ.get("HOSTILE_SECONDS", "1"))
# Kinds of tests/lib/hostile.cc of which every datagram is dropped for one reason.
REASONS = {"short": "short-datagram", "bad-header": "bad-header", "wrong-vni": "wrong-vni", "short-frame": "short-frame",
           "group-source": "bad-source"}
# Datagrams that the kernel discards at the fast port: too short for the programs to inspect.
SHORT = {"short", "short-frame", "leave"}


class Scene:
    """Two nodes with an agent and a pod each, and an attacker."""

    def __init__(self, lab):
        self.lab = lab
        self.n1, self.n2, self.stranger = lab.node("n1"), lab.node("n2"), lab.node("n3")
        for node in (self.n1, self.n2):
            node.start_agent()
        self.a, self.b = self.n1.pod("a"), self.n2.pod("b")
        for pod in (self.a, self.b):
            pod.add(pod.node.net(VNL))
        self.a.reaches(self.b.ip4)
        self.b.reaches(self.a.ip4)
        lab.settle()
        if self.cloud()["datapath"] == "kernel":
            wait_for(lambda: self.a.ping(self.b.ip4) and any(p.get("fastPort") for p in self.n1.agent.peers()), 20,
                     "the agents use each other's fast port")

    def cloud(self):
        return self.n1.agent.clouds()[0]

    def drops(self):
        """The drops of the cloud and its ports together, by reason."""
        counts = {}
        for row in self.n1.agent.ctl_json("drops").get("drops", []):
            counts[row["drop"]["reason"]] = counts.get(row["drop"]["reason"], 0) + int(row["drop"]["count"])
        return counts

    def targets(self, kind):
        cloud = self.cloud()
        ports = [cloud["unicastPort"]] + ([cloud["fastPort"]] if cloud.get("fastPort") and kind not in SHORT else [])
        return [f"{self.n1.ip4}:{port}" for port in ports]

    def attack(self, kind, *options, seconds=SECONDS):
        """A running attack; its output contains the number of sent datagrams."""
        return self.stranger.start(f"hostile-{kind}", program("tests/hostile"), kind, int(1000 * seconds), GROUP, GROUP_PORT,
                                   VNI, *self.targets(kind), *options)

    def send(self, kind, *options, **kwargs):
        """Runs a whole attack; returns the number of sent datagrams."""
        attack = self.attack(kind, *options, **kwargs)
        assert attack.wait(kwargs.get("seconds", SECONDS) + 30) == 0, attack.output()
        return json.loads(attack.output())["sent"]

    def memory(self):
        """The resident memory of the agent, in MB."""
        with open(f"/proc/{self.n1.agent.process.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024



def test_each_reason_is_counted():
    """every sent datagram is counted under its reason, or lost by a full queue"""
    with Lab("counted") as lab:
        scene = Scene(lab)
        for kind, reason in REASONS.items():
            before = scene.drops()
            sent = scene.send(kind, "--most", 30000)

            def missing():
                # A queue reports its losses with the next datagram that it accepts.
                nonlocal sent
                sent += scene.send(kind, "--most", len(scene.targets(kind)) + 1)
                now = scene.drops()
                return sent - sum(now.get(r, 0) - before.get(r, 0) for r in (reason, "socket-overrun"))
            wait_for(lambda: missing() == 0, 20, f"{kind}: all that was sent is counted")
            print(f"   {kind}: {sent} sent, {scene.drops().get(reason, 0)} {reason}, "
                  f"{scene.drops().get('socket-overrun', 0)} socket-overrun", flush=True)
        assert scene.a.ping(scene.b.ip4, count=5)


def test_a_strangers_leave_forgets_nothing_of_others():
    """leaves from another host, from the good peer's own port there, and from the good peer's host"""
    with Lab("leaves") as lab:
        scene = Scene(lab)
        b = scene.b.mac("eth0")
        place = next(e["location"]["peer"] for e in scene.n1.agent.fdb() if e["mac"] == b)
        address, port = place.rsplit(":", 1)
        assert address == scene.n2.ip4, place
        watch = scene.n1.start("watch", *scene.n1.agent.ctl_argv("watch"))
        watch.says("node")
        scene.send("leave", "--source-port", port)
        scene.send("leave")
        scene.n2.run(program("tests/hostile"), "leave", 100, GROUP, GROUP_PORT, VNI, *scene.targets("leave"))
        # A member that sends a frame and leaves: the leave is visible, so all datagrams before it have been processed.
        stranger = "02:66:66:66:66:66"
        source = ("--source-port", "40007", "--most", "1")
        scene.send("member", *source)
        wait_for(lambda: stranger in [e["mac"] for e in scene.n1.agent.fdb()], 10, "the stranger's station is learned")
        scene.send("leave", *source)
        wait_for(lambda: stranger not in [e["mac"] for e in scene.n1.agent.fdb()], 10, "its own leave is honoured")
        wait_for(lambda: re.search(f"station gone.*{stranger}", watch.output()), 10, "its leave is said")
        assert not re.search(f"station (gone|moved).*{b}", watch.output()), watch.output()[-2000:]
        assert place == next(e["location"]["peer"] for e in scene.n1.agent.fdb() if e["mac"] == b)
        assert scene.a.ping(scene.b.ip4, count=5)


def test_good_traffic_survives():
    """pings and TCP continue, memory is bounded, and everything is normal as soon as the attack ends"""
    with Lab("survives") as lab:
        scene = Scene(lab)
        mac, echo = scene.a.mac("eth0"), ("--source-port", scene.cloud()["unicastPort"])
        first = scene.memory()
        attacks = [("bad-header",), ("wrong-vni",), ("leave",), ("arp",), ("nd",), ("igmp",), ("conflict", "--mac", mac),
                   ("sources", "--mac", mac), ("member", *echo)]
        after = {}
        for kind, *options in attacks:
            ping = scene.a.start("ping", "ping", "-n", "-q", "-i", "0.02", "-c", 100000, scene.b.ip4)
            attack = scene.attack(kind, *options)
            sending = threading.Thread(target=lambda: results.append(scene.a.send_file(scene.b, scene.b.ip4, 1 << 20)))
            results = []
            sending.start()
            assert attack.wait(SECONDS + 30) == 0, attack.output()
            sending.join(60)
            assert results, f"{kind}: TCP did not get through"
            ping.stop(2)  # SIGINT makes ping print its counts
            sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", ping.output()).groups())
            after[kind] = scene.memory()
            print(f"   {kind}: {json.loads(attack.output())['sent'] / SECONDS:,.0f} a second; ping {received} of {sent}; "
                  f"{after[kind]:.0f} MB", flush=True)
            assert received, f"{kind}: no ping was answered"
            wait_for(lambda: scene.a.ping(scene.b.ip4, count=5), 20, f"after {kind} all pings are answered")
        # A full table of stations takes some 40 MB. A second flood meets the full table.
        assert max(after.values()) < first + 128, (first, after)
        scene.send("sources", "--mac", mac)
        again = scene.memory()
        scene.send("sources", "--mac", mac)
        assert scene.memory() < again + 8, (first, after, again, scene.memory())
        drops = scene.drops()
        assert drops.get("storm") and drops.get("loop"), drops
        cloud = scene.cloud()
        assert cloud["stationCount"] < 1 << 18 and int(cloud["conflicts"]) > 0, cloud
        assert not [port for port in scene.n1.agent.ports() if port.get("problem")]
        print(f"   {first:.0f} MB before, {scene.memory():.0f} MB after; {drops}", flush=True)


def test_a_pod_that_bridges_two_interfaces_of_one_cloud():
    """pods that may send from any MAC form a loop; one of their two ports is blocked, and other pods continue"""
    with Lab("loop") as lab:
        scene = Scene(lab)
        bridge, c = scene.n1.pod("bridge"), scene.n1.pod("c")
        c.add(scene.n1.net(VNL))
        for ifname in ("eth0", "net1"):
            # Port security alone would end the loop, unless it allows the bridge.
            bridge.add(scene.n1.net(VNL, ipam={}, allow=["00:00:00:00:00:00/0"]), ifname)
        bridge.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0")
        for ifname in ("eth0", "net1"):
            bridge.ip("link", "set", ifname, "master", "br0")
        lab.settle()
        bridge.ip("link", "set", "br0", "up")
        # Broadcasts of a station elsewhere: a returning frame of a local station is recognized and goes no further.
        scene.b.run("ping", "-b", "-c", "3", "-i", "0.2", "198.51.100.255", check=False)

        def blocked():
            return [port for port in scene.n1.agent.ports() if "in a loop" in port.get("problem", "")]
        wait_for(blocked, 10, "a port is blocked")
        assert {port["attachment"]["containerId"] for port in blocked()} == {bridge.container}, blocked()
        assert "event=loop" in scene.n1.agent.process.output()

        def frames():
            return sum(int(port.get(way, {}).get("frames", 0)) for port in scene.n1.agent.ports() for way in ("fromPod", "toPod"))

        def storm():
            """The numbers of frames that the node's ports send and receive in a while."""
            before = frames()
            assert scene.a.ping(scene.b.ip4, count=20) and scene.a.ping(c.ip4, count=20) and c.ping(scene.b.ip4, count=20)
            return frames() - before
        wait_for(lambda: storm() < 500, 10, "nothing circles any more")


if __name__ == "__main__":
    runner.main(globals())
