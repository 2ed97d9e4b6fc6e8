"""A cloud whose agents assign the addresses, on several nodes, and ways to find the owner of each address."""

import concurrent.futures
import ipaddress
import json
import os
import time

from tests.lib.lab import source
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3/vni=42"


class Cloud:
    """The `subnets` of the cloud "blue", in the configuration of every node that is passed to join()."""

    def __init__(self, lab, subnets, **cloud):
        self.lab, self.subnets = lab, subnets
        self.config = {"metrics": "", "clouds": [{"name": "blue", "vnl": VNL, "subnets": subnets, **cloud}]}

    def join(self, name):
        """A node with an agent and, as `net`, a network without ipam."""
        node = self.lab.node(name)
        node.start_agent(self.config)
        node.net_blue = self.network(node)
        return node

    def network(self, node, **section):
        return node.network({"cniVersion": "1.0.0", "name": "blue", "plugins": [
            {"type": "vxvde", "cloud": "blue", "capabilities": {"ips": True}, **section}]})

    def member(self, node, name, *addresses):
        """A real member whose addresses are set by hand, without a probe."""
        member = node.vdens(name, VNL)
        member.address(member.ifname, *addresses)
        member.ip4, member.ip6 = (*(a.split("/")[0] for a in addresses), None)[:2]
        member.mac_address = member.mac(member.ifname)
        return member


def add_all(pods, args=lambda pod: "", workers=None):
    """ADD for all `pods` at once, each on its node's net_blue; returns the seconds of each, and the results."""
    def one(pod):
        start = time.monotonic()
        result = pod.add(pod.node.net_blue, args=args(pod))
        return time.monotonic() - start, result
    with concurrent.futures.ThreadPoolExecutor(workers or len(pods)) as pool:
        done = list(pool.map(one, pods))
    return [took for took, _ in done], [result for _, result in done]


def delete_all(pods):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pod: pod.node.net_blue.delete(pod), pods))


def scan(member, own, subnet):
    """{address: [MACs that answer for it]}, as seen by `member`, whose address is `own`."""
    done = member.run("/usr/bin/python3", source("tests/lib/arp_scan.py"), member.ifname, own, subnet, timeout=60)
    return json.loads(done.stdout)


def expect_no_duplicates(member, subnet, pods, members=()):
    """The owners according to the kernels of pods and members, and according to the answers on the wire."""
    has = {}
    for pod in pods:
        for text in pod.addresses("eth0"):
            has.setdefault(str(ipaddress.ip_interface(text).ip), []).append(pod.mac("eth0"))
    for other in members:
        for text in other.addresses(other.ifname):
            has.setdefault(str(ipaddress.ip_interface(text).ip), []).append(other.mac_address)
    twice = {address: macs for address, macs in has.items() if len(macs) > 1}
    assert not twice, f"given twice: {twice}"
    answers = scan(member, member.ip4, subnet)
    twice = {address: macs for address, macs in answers.items() if len(macs) > 1}
    assert not twice, f"two stations answer: {twice}"
    network = ipaddress.ip_network(subnet)
    for address, macs in has.items():
        if ipaddress.ip_address(address) in network and address != member.ip4:
            assert answers.get(address) == macs, f"{address} is {macs}, but {answers.get(address)} answers"


def ipam(node):
    return node.agent.ctl_json("ipam")


def leased(node):
    """{address: owner} of the addresses that the node's agent has assigned."""
    return {one["address"]: one["owner"] for one in ipam(node).get("addresses", []) if one["use"] == "LEASED"}


def lease_files(node):
    return [name for name in node.agent.files() if name.startswith("leases" + os.sep) and name.endswith(".json")]


def wait_for_spare(node, count):
    wait_for(lambda: all(int(pool.get("spare", 0)) >= count for pool in ipam(node)["pools"]), 20,
             f"at least {count} spare addresses in each pool of {node}")
