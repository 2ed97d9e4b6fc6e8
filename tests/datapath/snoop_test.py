"""Multicast goes only to the pods that have joined the group: real IGMP and MLD of the pods' kernels."""

from tests.lib import runner
from tests.lib.lab import Lab
from tests.lib.process import wait_for

V4 = "vxvde://239.1.2.3"
GROUPS = {4: "233.252.0.7", 6: "ff0e::db8:7"}  # documentation addresses (RFC 6676)

# Joins a group and prints what it receives and from where; ends with its input.
MEMBER = """import socket, sys, threading
address = sys.argv[1]
v6 = ":" in address
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((address, 5300))
index = socket.if_nametoindex("eth0")
if v6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, address) + index.to_bytes(4, "little"))
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(address) + bytes(4) + index.to_bytes(4, "little"))
print("joined", flush=True)
while True:
    print("got", s.recv(100).decode(), flush=True)
"""
SEND = """import socket, sys
v6 = ":" in sys.argv[1]
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
index = socket.if_nametoindex("eth0")
if v6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(8) + index.to_bytes(4, "little"))
for i in range(int(sys.argv[3])):
    s.sendto((sys.argv[2] + str(i)).encode(), (sys.argv[1], 5300))
"""


def start(lab, **cloud):
    """Pods a, b and c on the first node, d on the second."""
    n1, n2 = lab.node("n1"), lab.node("n2")
    pods = {}
    for node, names in ((n1, "abc"), (n2, "d")):
        node.start_agent({"clouds": [{"name": "blue", "vnl": V4, **cloud}]})
        for name in names:
            pods[name] = node.pod(name)
            pods[name].add(node.net(V4))
    for pod in pods.values():
        for other in set(pods.values()) - {pod}:
            pod.reaches(other.ip4)
            pod.reaches(other.ip6)
    lab.settle()
    return n1, n2, pods


def snooping(node):
    return node.agent.clouds()[0].get("snooping")


def groups(node):
    """{group: numbers of the ports that have joined it}"""
    rows = node.agent.ctl_json("groups").get("groups", [])
    return {row["group"]: [port["port"] for port in row.get("ports", [])] for row in rows}


def is_sure(node):
    """Every port was queried and had time to answer."""
    wait_for(lambda: not snooping(node)["unsurePortCount"], 20, f"{node} knows what its ports want")


def join(pod, group):
    member = pod.start("member", "/usr/bin/python3", "-c", MEMBER, group)
    member.says("joined")
    return member


class Ear:
    """Counts frames at a pod's interface, regardless of what its kernel does with them."""

    def __init__(self, pod, what):
        self._pod, self._dump = pod, pod.start("ear", "tcpdump", "-n", "-l", "--immediate-mode", "-i", "eth0", "-A", what)
        self._dump.says("listening on")

    def hears(self, word):
        self._dump.says(word)

    def heard(self, word):
        return word in self._dump.output()


def send(pod, group, word, count=20):
    pod.run("/usr/bin/python3", "-c", SEND, group, word, count)


def passes(sender, group, word, to, not_to):
    """20 datagrams reach the listeners `to` and none of the listeners `not_to`. Datagrams to all that are sent afterwards mark
    the end."""
    send(sender, group, word)
    send(sender, "224.0.0.251", f"{word}-end", 1)
    for ear in (*to, *not_to):
        ear.hears(f"{word}-end0")
    for ear in to:
        ear.hears(f"{word}19")
    for ear in not_to:
        assert not ear.heard(f"{word}0") and not ear.heard(f"{word}19"), f"{word} was heard by {ear._pod}"


def test_only_members_get_it():
    """a member beside two non-members; senders on the other node and on the same one; leaves; IPv4 and IPv6"""
    with Lab("snoop") as lab:
        n1, n2, pods = start(lab)
        ears = {name: Ear(pod, "udp port 5300") for name, pod in pods.items()}
        a, b, c = ears["a"], ears["b"], ears["c"]
        for family, group in GROUPS.items():
            passes(pods["d"], group, f"nobody{family}x", to=(a, b, c), not_to=())
            member = join(pods["a"], group)
            for node in (n1, n2):
                is_sure(node)
                wait_for(lambda: group in groups(node), 10, f"{node} has heard that {group} is wanted")
            passes(pods["d"], group, f"far{family}x", to=(a,), not_to=(b, c))
            member.says(f"got far{family}x19")
            passes(pods["b"], group, f"near{family}x", to=(a,), not_to=(c,))
            member.says(f"got near{family}x19")

            away = join(pods["d"], group)
            passes(pods["c"], group, f"both{family}x", to=(a, ears["d"]), not_to=(b,))
            away.says(f"got both{family}x19")

            member.stop()
            wait_for(lambda: not groups(n1)[group], 20, "who has left is asked, and does not answer")
            passes(pods["b"], group, f"left{family}x", to=(ears["d"],), not_to=(a, c))
            away.stop()
        shown = n1.agent.ctl("groups").stdout
        assert all(group in shown for group in GROUPS.values()), shown


def test_what_all_need_reaches_all():
    """mDNS, SSDP without members, neighbour discovery and broadcasts, while groups are pruned"""
    with Lab("all") as lab:
        n1, _, pods = start(lab)
        ears = {name: Ear(pods[name], "udp port 5300") for name in "abc"}
        member = join(pods["a"], GROUPS[4])
        is_sure(n1)
        passes(pods["d"], GROUPS[4], "pruned", to=(ears["a"],), not_to=(ears["b"], ears["c"]))
        everybody = list(ears.values())
        for group in ("224.0.0.251", "ff02::fb", "239.255.255.250", "ff05::c"):
            passes(pods["d"], group, f"to{group.replace(':', '.')}x", to=everybody, not_to=())
        for name in "abc":
            pods["d"].run("ip", "neigh", "flush", "all")
            pods["d"].reaches(pods[name].ip4)
            pods["d"].reaches(pods[name].ip6)
        # A router behind a port receives every group, and new pods are queried before any group is withheld from them.
        late = n1.pod("late")
        late.add(n1.net(V4))
        ear = Ear(late, "udp port 5300")
        passes(pods["d"], GROUPS[4], "early", to=(ears["a"],), not_to=(ears["b"],))
        is_sure(n1)
        passes(pods["d"], GROUPS[4], "later", to=(ears["a"],), not_to=(ears["b"], ear))
        member.stop()


def test_switched_off():
    """`snooping: false`, and SIGHUP in both directions"""
    with Lab("off") as lab:
        n1, _, pods = start(lab, snooping=False)
        ears = {name: Ear(pods[name], "udp port 5300") for name in "abc"}
        member = join(pods["a"], GROUPS[4])
        assert not snooping(n1), snooping(n1)
        passes(pods["d"], GROUPS[4], "off", to=ears.values(), not_to=())
        clouds = [{"name": "blue", "vnl": V4}]
        n1.agent.reload({"clouds": clouds})
        wait_for(lambda: snooping(n1) and groups(n1), 20, "the pods are asked, and the member answers")
        is_sure(n1)
        passes(pods["d"], GROUPS[4], "on", to=(ears["a"],), not_to=(ears["b"], ears["c"]))
        n1.agent.reload({"clouds": [{**clouds[0], "snooping": False}]})
        wait_for(lambda: not snooping(n1), 10, "switched off again")
        passes(pods["d"], GROUPS[4], "again", to=ears.values(), not_to=())
        member.stop()


if __name__ == "__main__":
    runner.main(globals())
