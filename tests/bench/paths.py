"""The measured paths from one end to another. Each runs between two nodes of its own, so that none disturbs another.

A bed is a lab with two nodes; building it returns {path: (from, to)}. The paths:

  direct       the two nodes themselves, over the fabric: no overlay, the fabric's MTU
  routed       a pod on each node, behind a veth, routed by its node: no overlay, the fabric's MTU
  vxlan        the reference: a pod on each node, behind a veth in a Linux bridge with a kernel VXLAN device
  plug         the reference member of the protocol: vde_plug on a tap on each node
  kernel       pods of vxvde, agents with `datapath: kernel`
  user         pods of vxvde, agents with `datapath: user`
  foreign-in   from a vde_plug of one node to a pod of vxvde on the other (datapath kernel)
  foreign-out  the other direction
  tap          pods of vxvde with `mode: tap`, agents with `datapath: kernel`: the pod's kernel has one end of a tap, and
               the agent reads the other
  vxlan-tap    the same with kernel VXLAN: the pod's kernel has one end of a tap, and a program (tests/lib/tap_relay.cc)
               reads the other and writes to a tap in the bridge. A virtual machine's monitor does no better: super-frames
               pass whole
  local-bridge two pods on one node, behind veths in a Linux bridge
  local-kernel two pods of vxvde on one node, `datapath: kernel`
  local-user   two pods of vxvde on one node, `datapath: user`
"""

import os
import re

from tests.lib.lab import program
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3"
OVERHEAD = 50  # of one frame over IPv4


def direct(lab, n1, n2):
    return {"direct": (n1, n2)}


def routed(lab, n1, n2):
    subnet = {n1: "198.51.100.0", n2: "198.51.100.64"}
    ends = []
    for node, peer in ((n1, n2), (n2, n1)):
        gateway, address = (re.sub(r"\d+$", lambda m, n=n: str(int(m[0]) + n), subnet[node]) for n in (1, 2))
        node.sysctl("net/ipv4/ip_forward", 1)
        end = behind_veth(lab, node, "pod", address, lab_mtu(node), length=26)
        node.address("pod", f"{gateway}/26")
        end.ip("route", "add", "default", "via", gateway)
        node.ip("route", "add", f"{subnet[peer]}/26", "via", peer.ip4)
        ends.append(end)
    return {"routed": tuple(ends)}


def vxlan(lab, n1, n2):
    ends = []
    for number, node in enumerate((n1, n2), 1):
        vxlan_bridge(node, n2 if node is n1 else n1)
        ends.append(behind_veth(lab, node, "pod", f"198.51.100.{number}", inner_mtu(node), master="br0"))
    return {"vxlan": tuple(ends)}


def vxlan_tap(lab, n1, n2):
    ends = []
    for number, node in enumerate((n1, n2), 1):
        vxlan_bridge(node, n2 if node is n1 else n1)
        node.start("tap_relay", program("tests/tap_relay"), "tap0", "tap1").says("ready")
        end = lab.netns(f"{node.name}-pod")
        node.ip("link", "set", "tap0", "netns", end.path)
        end.ip("link", "set", "tap0", "mtu", str(inner_mtu(node)))
        node.ip("link", "set", "tap1", "mtu", str(inner_mtu(node)), "master", "br0", "up")
        end.ip4 = f"198.51.100.{number}"
        end.address("tap0", f"{end.ip4}/24")
        ends.append(end)
    return {"vxlan-tap": tuple(ends)}


def plug(lab, n1, n2):
    return {"plug": tuple(member(node, number) for number, node in enumerate((n1, n2), 1))}


def kernel(lab, n1, n2):
    return {"kernel": (ours(n1, "kernel"), ours(n2, "kernel"))}


def user(lab, n1, n2):
    return {"user": (ours(n1, "user"), ours(n2, "user"))}


def foreign(lab, n1, n2):
    plugged, pod = member(n1, 1), ours(n2, "kernel")
    return {"foreign-in": (plugged, pod), "foreign-out": (pod, plugged)}


def tap(lab, n1, n2):
    return {"tap": (ours(n1, "kernel", mode="tap"), ours(n2, "kernel", mode="tap"))}


def local_bridge(lab, n1, _):
    bridge(n1)
    return {"local-bridge": tuple(behind_veth(lab, n1, f"pod{n}", f"198.51.100.{n}", inner_mtu(n1), master="br0")
                                  for n in (1, 2))}


def local_kernel(lab, n1, _):
    return {"local-kernel": (ours(n1, "kernel"), ours(n1, "kernel", "pod2"))}


def local_user(lab, n1, _):
    return {"local-user": (ours(n1, "user"), ours(n1, "user", "pod2"))}


# The function that builds each bed, and the paths in it.
BEDS = {direct: ["direct"], routed: ["routed"], vxlan: ["vxlan"], kernel: ["kernel"], user: ["user"], plug: ["plug"],
        foreign: ["foreign-in", "foreign-out"], vxlan_tap: ["vxlan-tap"], tap: ["tap"],
        local_bridge: ["local-bridge"], local_kernel: ["local-kernel"], local_user: ["local-user"]}
PATHS = [path for paths in BEDS.values() for path in paths]
# The denominator of each ratio.
REFERENCE = {"tap": "vxlan-tap", "local-kernel": "local-bridge", "local-user": "local-bridge",
             "foreign-in": "plug", "foreign-out": "plug"}
REFERENCE.update((path, "vxlan") for path in ("direct", "routed", "kernel", "user", "plug"))
# Paths on which a wrong checksum is an error of vxvde.
OURS = ["kernel", "user", "foreign-in", "foreign-out", "tap", "local-kernel", "local-user"]


def lab_mtu(node):
    return node.links()["eth0"]["mtu"]


def inner_mtu(node):
    return lab_mtu(node) - OVERHEAD


def behind_veth(lab, node, name, address, mtu, length=24, master=None):
    """A namespace whose eth0 is the far end of the node's interface `name`."""
    end = lab.netns(f"{node.name}-{name}")
    node.ip("link", "add", name, "mtu", str(mtu), "type", "veth",
            "peer", "name", "eth0", "mtu", str(mtu), "netns", end.path)
    node.ip("link", "set", name, *(["master", master] if master else []), "up")
    end.ip4 = address
    end.address("eth0", f"{address}/{length}")
    return end


def bridge(node):
    node.ip("link", "add", "br0", "mtu", str(inner_mtu(node)), "type", "bridge")
    node.ip("link", "set", "br0", "up")


def without_iptables(node):
    """Configures the bridges of this node as on a kernel without br_netfilter."""
    node.run("sh", "-c", "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done")


def iptables_in_bridges():
    """Returns whether a bridge of a new namespace passes its frames to iptables, which takes longer."""
    return os.path.exists("/proc/sys/net/bridge/bridge-nf-call-iptables")


def vxlan_bridge(node, peer):
    """br0 with vx0, which sends unknown destinations to `peer`."""
    node.ip("link", "add", "vx0", "mtu", str(inner_mtu(node)), "type", "vxlan", "id", "7", "dstport", "4789",
            "local", node.ip4, "dev", "eth0", "nolearning")
    node.run("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", peer.ip4)
    bridge(node)
    node.ip("link", "set", "vx0", "master", "br0", "up")


def member(node, number):
    return node.vde_plug(f"plug{number}", VNL, mtu=inner_mtu(node)).join(number)


def ours(node, datapath, name="pod", mode="veth"):
    if node.agent is None:
        node.start_agent({"metrics": "", "datapath": datapath})
    pod = node.pod(name)
    pod.add(node.net(VNL, mode=mode))
    return pod


def settle(agents, timeout=10):
    """Waits until the kernel serves every port that it can, and the agents know it of each other."""
    def ready():
        return all(not re.search("it is new|no agent.s Hello", port.get("datapathReason", ""))
                   for agent in agents for port in agent.ports()) and (
            len(agents) < 2 or all(peer.get("fastPort") for agent in agents for peer in agent.peers()))

    if agents and all(agent.clouds()[0]["datapath"] == "kernel" for agent in agents):
        wait_for(ready, timeout, f"ports and peers of {[agent.node.name for agent in agents]} are fast")


def datapaths(agent):
    """The datapath of the node's cloud, ports and peers, with the reasons or the counts of punted frames."""
    cloud, ports = agent.clouds()[0], agent.ports()
    reasons = {row.get("datapathReason") for row in (cloud, *ports)} - {None, ""}
    left = [f"{slow['reason']} {slow['count']}" for slow in cloud.get("slow", []) if int(slow["count"])]
    return (cloud["datapath"], " ".join(port.get("datapath", "user") for port in ports),
            " ".join("kernel" if peer.get("fastPort") else "user" for peer in agent.peers()),
            "; ".join([*sorted(reasons), *([f"left to the agent: {', '.join(left)}"] if left else [])]))
