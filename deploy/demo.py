"""The demonstration of deploy/demo.sh, on the lab of the tests."""

import ipaddress
import itertools
import json
import sys

from tests.lib.lab import Lab, source

NAME = "vxvde-demo"
CONFLIST = source("deploy/cni/10-vxvde.conflist")


def say(text):
    print(text, flush=True)


def sample_conflist(node):
    """deploy/cni/10-vxvde.conflist; each node assigns addresses from its own part of the subnet."""
    with open(CONFLIST, encoding="utf-8") as f:
        conflist = json.load(f)
    section = next(p for p in conflist["plugins"] if p["type"] == "vxvde")
    for family in section["ipam"]["ranges"]:
        first = ipaddress.ip_network(family[0]["subnet"])[0]
        family[0]["rangeStart"] = str(first + 32 * node.number)
        family[0]["rangeEnd"] = str(first + 32 * node.number + 31)
    return conflist, section


def show(lab):
    say("== 3. Two nodes with an agent each, and a third for a VDE member; one LAN")
    n1, n2, n3 = lab.node("n1"), lab.node("n2"), lab.node("n3")
    for node in (n1, n2):
        node.start_agent()
        say(f"   {node}: {node.ip4}, vxvde-agent runs")

    say("== 4. Pods, made by the CNI binary from deploy/cni/10-vxvde.conflist")
    pods = []
    for node, name, mode in ((n1, "web", "veth"), (n2, "db", "veth"), (n2, "vm", "tap")):
        conflist, section = sample_conflist(node)
        section["mode"] = mode
        pod = node.pod(name)
        pod.add(node.network(conflist), args=f"IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME={name}")
        pods.append(pod)
        say(f"   {node}: pod {name} ({mode}) has {' '.join(pod.addresses('eth0'))}")
    vnl = section.get("vnl", "vxvde://")
    member = n3.vdens("vdens", vnl)
    taken = []
    for family in section["ipam"]["ranges"]:
        subnet = ipaddress.ip_network(family[0]["subnet"])
        taken.append(f"{subnet[9]}/{subnet.prefixlen}")
    member.address(member.ifname, *taken)
    member.ip4 = taken[0].split("/")[0]
    say(f"   {n3}: `{member.process.argv[3]}` on {vnl} has {' '.join(taken)}")

    say("== 5. Every station pings every other")
    stations = [*pods, member]
    for a, b in itertools.permutations(stations, 2):
        a.reaches(b.ip4)
        reply = a.run("ping", "-n", "-c", "3", "-i", "0.2", b.ip4).stdout
        say(f"   {a.name:9} -> {b.name:9} {b.ip4:12} {reply.strip().splitlines()[-1]}")

    say("== 6. TCP between pods on two nodes, and with the member (iperf3, 3 s each)")
    for a, b in ((pods[0], pods[1]), (pods[0], pods[2]), (pods[0], member)):
        result = a.iperf3(b, b.ip4)
        say(f"   {a.name:9} -> {b.name:9} {result['end']['sum_received']['bits_per_second'] / 1e9:6.2f} Gbit/s")

    for command in ("status", "clouds", "ports", "peers", "fdb"):
        say(f"== 7. {n1}: vxvdectl {command}")
        say(n1.agent.ctl(command).stdout.rstrip())


def main():
    option = sys.argv[1] if len(sys.argv) > 1 else ""
    lab = Lab(NAME, unique=False)
    lab.clean()  # leftovers of an earlier run
    if option == "--clean":
        say("demo: nothing is left")
        return
    with lab:
        show(lab)
        lab.keep = option == "--keep"
    if not lab.keep:
        say("== Done, everything is removed. `deploy/demo.sh --keep` leaves it running.")
        return
    say(f"""== It keeps running. Try
   ip netns exec {NAME}-n1-web bash                          # in a pod
   ip netns exec {NAME}-n3 vdens vxvde:// bash               # another member; give vde0 an address
   ip netns exec {NAME}-n1 tcpdump -ni eth0 udp              # the wire
   bazel-bin/agent/vxvdectl --run-dir {lab.dir}/n1-run watch
   deploy/demo.sh --clean""")


main()
