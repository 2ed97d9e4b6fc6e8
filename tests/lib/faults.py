"""One system call fails (lib/fault_at.cc), and the conditions that must hold nevertheless: a scene of pods to observe
meanwhile."""

import collections
import fcntl
import glob
import json
import os
import re
import signal

from tests.lib.cni import execute
from tests.lib.lab import DATAPATH, program
from tests.lib.process import Timeout, wait_for

BUSY, QUIET = "vxvde://239.1.2.3", "vxvde://239.1.2.4"
CLOUD = {"name": "busy", "vnl": BUSY, "subnets": ["203.0.113.0/24"]}
GREEN = {"name": "green", "vnl": QUIET, "subnets": ["198.51.100.0/24", "2001:db8:42::/64"]}
CONFIG = {"clouds": [CLOUD]}
OTHER_CONFIG = {"clouds": [{**CLOUD, "gateway": True, "snooping": False, "storm": {"port": 5000}}]}


class Lost(AssertionError):
    """Of the others' traffic."""


class Echoes:
    """`ping -i 0.01` in the background, which reports missing answers at once."""

    def __init__(self, source, address):
        self.what = f"{source} -> {address}"
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 1 << 20)  # minutes of output
        self._process = source.start(f"echoes-{source.lab.next_id()}", "ping", "-n", "-i", "0.01", address, stdout=theirs)
        os.close(theirs)
        self._rest = b""
        self._waiting = set()  # sent before the newest answered one, and not answered
        self.newest = self._wanted = 0

    def __del__(self):
        os.close(self._pipe)

    def _read(self):
        while True:
            try:
                text = os.read(self._pipe, 1 << 16)
            except BlockingIOError:
                return
            assert text, f"{self.what}: ping has ended: {self._process.output()}"
            *lines, self._rest = (self._rest + text).split(b"\n")
            for line in lines:
                if found := re.search(rb"icmp_seq=(\d+) ", line):
                    self._answered(int(found[1]))

    def _answered(self, on_wire):
        number = self.newest + (on_wire - self.newest + 32768) % 65536 - 32768
        if number > self.newest:
            self._waiting.update(range(self.newest + 1, number))
            self.newest = number
        self._waiting.discard(number)

    def look(self):
        """Marks the current position for lost()."""
        self._read()
        self._wanted = self.newest + 3

    def lost(self):
        """The number of echoes before look() that had no answer, since the previous call."""
        def goes_on():
            self._read()
            return self.newest >= self._wanted
        wait_for(goes_on, 20, f"{self.what} goes on")
        try:
            wait_for(lambda: self._read() or not self._waiting, 1, "late answers")
        except Timeout:
            pass
        lost = len(self._waiting)
        self._waiting.clear()
        return lost


class Scene:
    """Two nodes. Pods of the cloud BUSY, two here and one there, speak without end; the subject of the operations is a pod
    here in the cloud QUIET, whose only one here it is: its ADD joins the cloud and its DEL leaves it. `mode`: veth or tap,
    with addresses by host-local; or own, a veth with addresses of the agent's."""

    def __init__(self, lab, mode):
        self.lab, self.mode = lab, mode
        self.node, there = lab.node("n1"), lab.node("n2")
        self.agent = self.node.start_agent({"clouds": [CLOUD, GREEN]} if mode == "own" else CONFIG)
        there.start_agent()
        self.near, self.beside, far = self.node.pod("near"), self.node.pod("beside"), there.pod("far")
        for pod in (self.near, self.beside, far):
            pod.add(pod.node.net(BUSY))
        self.other = there.pod("other")
        self.other.add(there.net(QUIET, name="green"))
        self.near.reaches(self.beside.ip4)
        self.near.reaches(far.ip4)
        self.beside.reaches(far.ip6)
        self.subject = self.node.pod("subject")
        self.network = (self.node.network({"cniVersion": "1.0.0", "name": "green", "plugins": [
            {"type": "vxvde", "cloud": "green"}]}) if mode == "own" else self.node.net(QUIET, name="green", mode=mode))
        lab.settle()
        self.traffic = [Echoes(self.near, self.beside.ip4), Echoes(self.near, far.ip4), Echoes(far, self.beside.ip6)]
        # The agent remembers the cloud's port, host-local the last address.
        self.network.add(self.subject)
        self.restart()
        self.network.delete(self.subject)
        self.before = None
        self.before = self.settled()

    # ---- operations

    def cni(self, command, prefix=()):
        env = self.network.environment(self.subject.container, self.subject.path, "eth0")
        return execute(self.node, program("cni/vxvde"), command, next(self.network.configs()), environment=env,
                       prefix=prefix)

    def restart(self):
        self.agent.stop()
        self.agent.start()

    def let_go(self):
        """Stops the program that has traced an agent since its start; returns its output."""
        def said():
            return next((line for line in self.agent.process.output().splitlines() if line.startswith("fault_at: ")), None)
        for pid in [pid for pid in self.lab.programs() if name_of(pid) == "fault_at"]:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        return wait_for(said, 10, "fault_at says what it did")

    def becomes_fast(self):
        """Waits until the kernel serves the subject's port, if it is to; without querying the agent, whose calls are counted."""
        if self.mode == "tap" or DATAPATH == "user" or "eth0" not in self.subject.links():
            return
        index = self.subject.links()["eth0"]["link_index"]
        name = next(name for name, link in self.node.links().items() if link["ifindex"] == index)
        try:
            wait_for(lambda: "bpf" in self.node.run("tc", "filter", "show", "dev", name, "ingress").stdout, 4, "a program")
        except Timeout:  # the fault prevented it; the agent keeps the port
            pass

    def reload(self, config):
        """Returns when the agent reports that it has read or refused `config`, has ended, or cannot report."""
        def said():
            return self.agent.process.output().count("configuration re")
        before = said()
        self.agent.reload(config)
        try:
            wait_for(lambda: said() > before or not self.agent.process.alive, 3, "the agent tells of its configuration")
        except Timeout:
            pass

    def gateway_comes(self):
        """Waits until the node has its own port with an address in a cloud, unless a fault prevents that or the agent has ended:
        frames for the next agent wait in queues."""
        def there():
            ours = [name for name, link in self.node.links().items() if link.get("ifalias", "").startswith("vxvde-node:")]
            return any(self.node.addresses(name) for name in ours)
        try:
            wait_for(lambda: there() or not self.agent.process.alive, 4, "a gateway")
        except Timeout:
            pass

    # ---- conditions

    def footprint(self):
        """Everything that the subject could leave behind."""
        pid = self.agent.process.pid
        rules = self.node.run("tc", "filter", "show", "dev", "eth0", "ingress").stdout
        ports = self.agent.ports()
        # An agent that assigns addresses has a port of its own, with a different MAC each time. Among stations
        # elsewhere, queriers appear and disappear.
        own = {port["mac"] for port in ports if "attachment" not in port}
        footprint = self.node.footprint(self.subject)
        del footprint["agent"]["stationCount"]
        return {**footprint, "descriptors": descriptors(pid),
                "kept": sum((descriptors(holder) for holder in self.holders()), collections.Counter()),
                "filters of the uplink": rules.count("filter protocol"),
                "namespaces": sorted(name for name in os.listdir("/run/netns") if name.startswith(self.lab.name)),
                "ports": sorted(f"{port['name']} {port.get('datapath')}" for port in ports if port["mac"] not in own),
                "stations": sorted(entry["mac"] for entry in self.agent.fdb()
                                   if entry["location"].get("port") and entry["mac"] not in own)}

    def holders(self):
        return [pid for pid in self.lab.programs() if name_of(pid) == "vxvde-holder"]

    def settled(self):
        """The footprint, once three successive readings agree."""
        self.lab.settle()
        looks = []

        def same():
            looks.append(self.footprint())
            return len(looks) >= 3 and looks[-1] == looks[-2] == looks[-3]
        wait_for(same, 20, "nothing changes any more")
        return looks[-1]

    def is_closed(self):
        """The agent has no more descriptor of the subject."""
        return descriptors(self.agent.process.pid) == self.before["descriptors"]

    def expect_before(self):
        try:
            wait_for(lambda: self.footprint() == self.before, 6, "as before")
        except Timeout:
            seen = self.footprint()
            different = {key: difference(self.before[key], seen[key]) for key in seen if seen[key] != self.before[key]}
            assert not different, f"left: {different}"

    def expect_traffic(self, tolerated=0):
        for echoes in self.traffic:
            echoes.look()
        lost = {echoes.what: count for echoes in self.traffic if (count := echoes.lost()) > tolerated}
        if lost:
            raise Lost(f"echoes of others without an answer: {lost}")

    def expect_attached(self):
        """The subject communicates with the pod of the other node."""
        self.subject.reaches(self.other.ip4, timeout=5)


def error_of(done):
    """The message of a failed CNI call, which must not be empty."""
    try:
        error = json.loads(done.stdout)
        assert error["code"] and error["msg"], f"no word of what is wrong: {error}"
        return error["msg"] + " " + error.get("details", "")
    except (ValueError, KeyError):
        words = [line for line in done.stderr.splitlines() if not line.startswith("fault_at:")]
        assert words, f"exit {done.returncode} without a word: {done.stdout!r}"
        return " ".join(words)


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            return f.read().strip()
    except OSError:  # it has ended
        return None


def waits(pid):
    """The place where each thread of a process waits: the kernel function, and the system call with its arguments."""
    def read(path):
        try:
            with open(path, encoding="ascii") as f:
                return f.read().strip()
        except OSError as error:  # it has ended
            return error.strerror
    return [f"{read(task + '/wchan')} {read(task + '/syscall')}" for task in sorted(glob.glob(f"/proc/{pid}/task/*"))]


def descriptors(pid):
    """The number of open descriptors of a process by kind; without eventfds, whose number varies with gRPC's threads."""
    kinds = collections.Counter()
    for fd in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            kind = re.sub(r"[0-9]+", "N", os.readlink(fd))
        except OSError:  # closed meanwhile
            continue
        if kind != "anon_inode:[eventfd]":
            kinds[kind] += 1
    return kinds


def difference(before, after):
    if isinstance(before, collections.Counter):
        return {"more": dict(after - before), "less": dict(before - after)}
    if isinstance(before, list):
        return {"more": [one for one in after if one not in before], "less": [one for one in before if one not in after]}
    return f"{before} -> {after}"
