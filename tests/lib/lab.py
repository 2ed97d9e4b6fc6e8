"""A LAN of network namespaces on one machine: nodes, agents, pods, and real VDE members.

    with Lab("cloud") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        pod = n1.pod("p1")
        pod.add(n1.net("vxvde://239.1.2.3"))
        member = n2.vdens("m", "vxvde://239.1.2.3").join(9)
        pod.reaches(member.ip4)

Nothing touches the machine's own interfaces. Leaving the block ends every program and removes every namespace and file;
after an exception all logs are printed first."""

import functools
import glob
import ipaddress
import itertools
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys

from tests.lib.cni import Network
from tests.lib.netns import Netns
from tests.lib.process import Timeout, run, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MARK = "VXVDE_LAB"
# `datapath` of every agent whose test does not set it.
DATAPATH = os.environ.get("VXVDE_TEST_DATAPATH", "auto")
CNI_PLUGINS = "/usr/lib/cni"  # Debian's containernetworking-plugins


def source(path):
    """A file of the tree, both under Bazel and outside."""
    return next(p for p in (os.path.join(folder, path) for folder in (os.getcwd(), ROOT)) if os.path.exists(p))


def program(label):
    """Path of a built program: "agent/vxvde-agent"; from the test's runfiles, else from bazel-bin."""
    for folder in (os.getcwd(), os.path.join(ROOT, "bazel-bin")):
        path = os.path.join(folder, label)
        if os.path.isfile(path):
            return os.path.realpath(path)
    raise AssertionError(f"{label} is not built: bazel build //{os.path.dirname(label)}:{os.path.basename(label)}")


class Member(Netns):
    """A real VDE member with a namespace of its own; its interface is `ifname`."""

    def __init__(self, lab, name, path, process, ifname):
        super().__init__(lab, name, path)
        self.process, self.ifname = process, ifname

    def join(self, host):
        """Takes the inner addresses of host number 1-31, which no node's range contains."""
        self.ip4, self.ip6 = f"198.51.100.{host}", f"2001:db8:42::{host}"
        self.address(self.ifname, f"{self.ip4}/24", f"{self.ip6}/64")
        return self

    def stop(self, sig=signal.SIGTERM):
        self.process.stop(sig)


class Pod(Netns):
    """A container's namespace as a runtime creates it: loopback up, nothing else."""

    def __init__(self, lab, name, path, node):
        super().__init__(lab, name, path)
        self.node = node
        self.container = f"{lab.name}-{node.name}-{name}"
        self.ip4 = self.ip6 = None  # without length, of the last add()

    def add(self, network, ifname="eth0", **kwargs):
        """CNI ADD; returns the result and keeps its addresses."""
        result = network.add(self, ifname, **kwargs)
        for ip in result.get("ips", []):
            address = ipaddress.ip_interface(ip["address"]).ip
            if address.version == 4:
                self.ip4 = str(address)
            else:
                self.ip6 = str(address)
        return result

    def remove_netns(self):
        run(["ip", "netns", "del", os.path.basename(self.path)])


class Agent:
    """A running vxvde-agent and its run-dir."""

    def __init__(self, node, config, run_dir=None, prefix=(), options=()):
        """`prefix`: a program that executes it, for example "setpriv ... --". `options`: more for its command line."""
        self.node, self.config, self._prefix, self._options = node, config, prefix, options
        self.run_dir = run_dir or os.path.join(node.lab.dir, f"{node.name}-run")
        self.socket = os.path.join(self.run_dir, "handoff.sock")
        self.config_file = os.path.join(node.lab.dir, f"{node.name}.yaml")
        self.program = os.environ.get("VXVDE_TEST_AGENT") or program("agent/vxvde-agent")
        self.process = None

    def start(self, timeout=20, prefix=()):
        """Starts the agent and returns when it reports that both sockets answer. `prefix`: a command that runs it, for this start only."""
        self._write()
        ready, theirs = os.pipe()
        try:
            self.process = self.node.start(
                "agent", *self._prefix, *prefix, self.program, "--config", self.config_file, "--run-dir", self.run_dir,
                "--ready-fd", theirs, *self._options, pass_fds=[theirs])
        finally:
            os.close(theirs)
        try:
            readable, _, _ = select.select([ready], [], [], timeout)
            word = os.read(ready, 16) if readable else None
        finally:
            os.close(ready)
        assert word == b"\n", f"agent of {self.node} is not ready ({word!r}):\n{self.process.output()}"
        return self

    def stop(self, sig=signal.SIGTERM):
        return self.process.stop(sig)

    def reload(self, config):
        self.config = {"node": self.node.name, **config}
        self._write()
        os.kill(self.process.pid, signal.SIGHUP)

    def _write(self):
        with open(self.config_file, "w", encoding="utf-8") as f:
            json.dump({"datapath": DATAPATH, **self.config}, f, indent=1)  # JSON is YAML

    def ctl_argv(self, *args):
        return [program("agent/vxvdectl"), "--run-dir", self.run_dir, *args]

    def ctl(self, *args, check=True):
        return self.node.run(*self.ctl_argv(*args), check=check)

    def ctl_json(self, *args):
        return json.loads(self.ctl("-o", "json", *args).stdout)

    def metrics(self, address="127.0.0.1:9478"):
        """The text of /metrics; the configuration must name the address."""
        program = f"import urllib.request as u; print(u.urlopen('http://{address}/metrics', timeout=5).read().decode())"
        return self.node.run("/usr/bin/python3", "-c", program).stdout

    # Rows of the node, as the proto's JSON mapping has them.

    def clouds(self):
        return self.ctl_json("clouds").get("clouds", [])

    def ports(self):
        return self.ctl_json("ports").get("ports", [])

    def peers(self):
        return self.ctl_json("peers").get("peers", [])

    def fdb(self):
        return self.ctl_json("fdb").get("entries", [])

    def files(self):
        """Files in the run-dir and its folders."""
        return sorted(os.path.relpath(os.path.join(folder, name), self.run_dir)
                      for folder, _, names in os.walk(self.run_dir) for name in names)


def make_poor(netns, ifname):
    """A simple NIC: every packet leaves whole and with its checksum; only GRO on receive."""
    off = ["tx", "off", "tso", "off", "gso", "off", "sg", "off", "tx-udp-segmentation", "off", "gro", "on"]
    netns.run("ethtool", "-K", ifname, *off)


class Lan:
    """An Ethernet bridge in a namespace of its own."""

    def __init__(self, lab, name, number, mtu, offloads):
        self.number, self.mtu, self.offloads = number, mtu, offloads
        self.netns = lab.netns(name)
        self.netns.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        self.netns.ip("link", "set", "br0", "mtu", str(mtu), "up")

    def addresses(self, host):
        """The addresses of host number 1-62 here: documentation addresses, IPv4 and IPv6."""
        return f"192.0.2.{64 * self.number + host}/26", f"2001:db8:0:{self.number}::{host}/64"


class Node(Netns):
    """A machine on the LAN, with eth0 as its uplink and the target of its multicast routes."""

    def __init__(self, lab, name, path, number):
        super().__init__(lab, name, path)
        self.number = number
        self.ip4 = self.ip6 = None  # of eth0
        self.agent = None

    def plug(self, lan, ifname):
        """A veth pair from here (`ifname`) to the LAN's bridge (this node's name)."""
        port = f"{self.name}.{ifname}"[-15:]
        lan.netns.ip("link", "add", port, "mtu", str(lan.mtu), "type", "veth",
                     "peer", "name", ifname, "mtu", str(lan.mtu), "netns", self.path)
        lan.netns.ip("link", "set", port, "master", "br0", "up")
        if not lan.offloads:
            make_poor(self, ifname)
            make_poor(lan.netns, port)
        ip4, ip6 = lan.addresses(self.number)
        self.address(ifname, ip4, ip6)
        return ip4.split("/")[0], ip6.split("/")[0]

    def route_multicast(self, ifname):
        self.ip("route", "replace", "224.0.0.0/4", "dev", ifname)
        self.ip("-6", "route", "replace", "multicast", "ff00::/8", "dev", ifname, "table", "local", "metric", "1")

    def start_agent(self, config=None):
        """Starts this node's agent. `config`: agent.yaml as a dict, to which the node's name is added."""
        self.agent = Agent(self, {"node": self.name, **(config or {})}).start()
        return self.agent

    def network(self, conflist):
        """The conflist for this node: plugins "vxvde" get the agent's socket, host-local a folder of the lab."""
        conflist = json.loads(json.dumps(conflist))
        for plugin in conflist["plugins"]:
            if plugin["type"] == "vxvde":
                plugin["agent"] = self.agent.socket
            if plugin.get("ipam", {}).get("type") == "host-local":
                plugin["ipam"]["dataDir"] = self.lease_dir
        return Network(self, conflist, [os.path.dirname(program("cni/vxvde")), CNI_PLUGINS])

    def net(self, vnl, mode="veth", name="blue", **section):
        """A network of the cloud `vnl`, with addresses by host-local: a part of 198.51.100.0/24 and of 2001:db8:42::/64 that
        belongs to this node alone. `section`: more keys of the plugin's section."""
        part = 32 * self.number
        ranges = [[{"subnet": "198.51.100.0/24", "rangeStart": f"198.51.100.{part}",
                    "rangeEnd": f"198.51.100.{part + 31}"}],
                  [{"subnet": "2001:db8:42::/64", "rangeStart": f"2001:db8:42::{self.number}:1",
                    "rangeEnd": f"2001:db8:42::{self.number}:ff"}]]
        return self.network({"cniVersion": "1.0.0", "name": name, "plugins": [{
            "type": "vxvde", "vnl": vnl, "mode": mode, "ipam": {"type": "host-local", "ranges": ranges}, **section}]})

    @property
    def lease_dir(self):
        return os.path.join(self.lab.dir, f"{self.name}-leases")

    def leases(self):
        """Paths of host-local's leases. It creates the file first and then writes its holder: an empty file belongs to no
        container. A host-local that was killed in between leaves it, and no DEL can find it."""
        return [p for p in glob.glob(f"{self.lease_dir}/*/*")
                if not os.path.basename(p).startswith(("last_reserved_ip", "lock")) and os.path.getsize(p) > 0]

    def footprint(self, pod):
        """Everything that attaching `pod` leaves on its node, for comparison. Devices of the kernel datapath go a moment after
        their cloud."""
        def strangers():
            # A cloud may disappear meanwhile: the plan of a plugin that has ended is rolled back a moment later.
            fast = {f"vx{kind}{cloud['unicastPort']}" for cloud in self.agent.clouds() if cloud.get("fastPort")
                    for kind in "tdf"}
            return fast ^ {name for name in self.links() if re.fullmatch("vx[tdf][0-9]+", name)}
        wait_for(lambda: not strangers(), 10, f"the fast path's devices of {self} are those of its clouds")
        status = self.agent.ctl_json("status")
        counts = {key: status.get(key, 0) for key in ("cloudCount", "portCount", "stationCount", "problemCount")}
        return {"links of the node": sorted(self.links()), "links of the pod": sorted(pod.links()),
                "leases": self.leases(), "agent": counts, "files": self.agent.files()}

    def expect_footprint(self, pod, expected, why):
        """Waits until it is `expected`: links disappear a moment after DEL has answered."""
        try:
            wait_for(lambda: self.footprint(pod) == expected, 3, why)
        except Timeout:
            seen = self.footprint(pod)
            different = {key: f"{expected[key]} -> {seen[key]}" for key in seen if seen[key] != expected[key]}
            raise AssertionError(f"{why}: {different}") from None

    def pod(self, name):
        netns = self.lab.netns(f"{self.name}-{name}", dad=True)
        return Pod(self.lab, name, netns.path, self)

    def vdens(self, name, vnl):
        """`vdens VNL`: the member's interface is vde0. The caller sets its address.

        vdens creates a user namespace. Where that is denied (for example in a chroot: user_namespaces(7)), the other real
        member replaces it, and prints a notice."""
        if not self.lab.user_namespaces():
            print(f"   no user namespace can be made here: vde_plug on a tap is member {name} instead of vdens",
                  flush=True)
            return self.vde_plug(name, vnl)
        pid_file = self.lab.file(f"{name}.pid")
        process = self.start(f"vdens-{name}", "vdens", vnl, "sh", "-c", f"echo $$ > {pid_file}.new; "
                             f"mv {pid_file}.new {pid_file}; exec sleep 100000")
        wait_for(lambda: os.path.exists(pid_file) or not process.alive, 10, f"vdens {vnl} runs its command")
        assert process.alive, f"vdens {vnl}: {process.output()}"
        with open(pid_file, encoding="ascii") as f:
            member = Member(self.lab, name, f"/proc/{f.read().strip()}/ns/net", process, "vde0")
        wait_for(lambda: "vde0" in member.links(), 10, f"vde0 of {name}")
        member.ip("link", "set", "lo", "up")
        return member

    def vde_plug(self, name, vnl, mtu=None):
        """`vde_plug tap://NAME VNL` here; the tap is then moved into a namespace of its own."""
        tap = f"{name}.tap"[-15:]
        process = self.start(f"vde_plug-{name}", "vde_plug", f"tap://{tap}", vnl)
        wait_for(lambda: tap in self.links() or not process.alive, 10, f"vde_plug {vnl} makes {tap}")
        assert process.alive, f"vde_plug {vnl}: {process.output()}"
        netns = self.lab.netns(f"{self.name}-{name}")
        self.ip("link", "set", tap, "netns", netns.path)
        if mtu:
            netns.ip("link", "set", tap, "mtu", str(mtu))
        return Member(self.lab, name, netns.path, process, tap)


class Lab:
    def __init__(self, name, mtu=1500, offloads=True, unique=True):
        """`mtu` of the LAN; `offloads` off: a fabric of simple NICs. `unique`: several instances may run at once."""
        self.name = f"vx-{name}-{os.getpid()}" if unique else name
        self.dir = f"/tmp/{self.name}"
        self.keep = False  # True: all objects stay; clean() of another process removes them
        self._mtu, self._offloads = mtu, offloads
        self._lans = []
        self._nodes = []
        self._ids = itertools.count(1)

    def __enter__(self):
        # A test that exceeds its time gets SIGTERM, which becomes an exception, so that everything is removed.
        self._on_term = signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
        os.makedirs(self.dir, mode=0o755)
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            self.print_logs()
        if kind is not None or not self.keep:
            self.clean()
        signal.signal(signal.SIGTERM, self._on_term)

    @property
    def environment(self):
        """In the environment of every program of the lab: clean() recognizes the program by this mark."""
        return {**os.environ, MARK: self.name}

    def clean(self):
        """Ends all programs, and removes all namespaces and files of any lab of this name."""
        wait_for(self._no_programs, 10, f"programs of {self.name} end")
        for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
            if name.startswith(f"{self.name}-"):
                run(["ip", "netns", "del", name])
        shutil.rmtree(self.dir, ignore_errors=True)

    def programs(self):
        """Process ids of all running programs of the lab."""
        mark, running = f"{MARK}={self.name}".encode(), []
        for environment in glob.glob("/proc/[0-9]*/environ"):
            try:
                with open(environment, "rb") as f:
                    if mark in f.read().split(b"\0"):
                        running.append(int(environment.split("/")[2]))
            except OSError:  # it has ended
                pass
        return [pid for pid in running if pid != os.getpid()]

    def _no_programs(self):
        running = self.programs()
        for pid in running:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not running

    @functools.lru_cache
    def user_namespaces(self):
        """Whether a process here may create one."""
        return subprocess.run(["unshare", "--user", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0

    def print_logs(self, lines=60):
        for path in sorted(glob.glob(f"{self.dir}/*.log")):
            with open(path, errors="replace", encoding="utf-8") as f:
                text = f.read().splitlines()
            if text:
                print(f"---- {os.path.basename(path)}, last {min(lines, len(text))} of {len(text)} lines")
                print("\n".join(text[-lines:]))
        sys.stdout.flush()

    def settle(self):
        """Waits until the kernel forwards for every port that it can serve: for a new port the agent forwards at first."""
        for agent in [node.agent for node in self._nodes if node.agent is not None]:
            fast = {cloud["name"] for cloud in agent.clouds() if cloud["datapath"] == "kernel"}
            wait_for(lambda: not [port for port in agent.ports() if port["cloud"] in fast
                                  and port.get("datapath") == "user" and "in a moment" in port["datapathReason"]],
                     10, f"ports of {agent.node} become fast")

    def next_id(self):
        return next(self._ids)

    def file(self, name):
        return os.path.join(self.dir, name)

    def log(self, name):
        return self.file(f"{name}.log")

    def netns(self, name, dad=False):
        """A new namespace with loopback up; without `dad`, IPv6 addresses are usable at once."""
        full = f"{self.name}-{name}"
        run(["ip", "netns", "add", full])
        netns = Netns(self, name, f"/run/netns/{full}")
        if not dad:
            netns.sysctl("net/ipv6/conf/default/accept_dad", 0)
        netns.ip("link", "set", "lo", "up")
        return netns

    def lan(self, number=None):
        """LAN `number`, created on first use; None is the first."""
        while len(self._lans) <= (number or 0):
            count = len(self._lans)
            self._lans.append(Lan(self, f"lan{count}", count, self._mtu, self._offloads))
        return self._lans[number or 0]

    def cable(self, *names):
        """Two nodes whose eth0 are the ends of one veth pair, so that no bridge between them costs time."""
        nodes = [Node(self, name, self.netns(name).path, number) for number, name in enumerate(names, 1)]
        nodes[0].ip("link", "add", "eth0", "mtu", str(self._mtu), "type", "veth",
                    "peer", "name", "eth0", "mtu", str(self._mtu), "netns", nodes[1].path)
        for node in nodes:
            if not self._offloads:
                make_poor(node, "eth0")
            node.ip4, node.ip6 = f"192.0.2.{node.number}", f"2001:db8::{node.number}"
            node.address("eth0", f"{node.ip4}/26", f"{node.ip6}/64")
            node.route_multicast("eth0")
        return nodes

    def node(self, name):
        """A node on LAN 0."""
        netns = self.netns(name)
        node = Node(self, name, netns.path, len(self._nodes) + 1)
        self._nodes.append(node)
        node.ip4, node.ip6 = node.plug(self.lan(), "eth0")
        node.route_multicast("eth0")
        return node
