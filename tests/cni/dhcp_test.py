"""`"ipam": {"type": "dhcp"}`: Debian's dhcp plugin and its daemon, and a DHCP server that is a plain member of the cloud.

Ids such as (A5) are requirements in docs/RUNTIMES.md."""

import os

from tests.lib import runner
from tests.lib.cni import CniError
from tests.lib.lab import CNI_PLUGINS, Lab
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3"
SERVER, FIRST, LAST = "203.0.113.1", "203.0.113.100", "203.0.113.102"


def start_server(lab, node):
    """Starts busybox's udhcpd in a member of the cloud; returns the member and the server's process."""
    member = node.vdens("server", VNL)
    member.address("vde0", f"{SERVER}/24")
    folder = lab.dir
    config = os.path.join(folder, "udhcpd.conf")
    with open(config, "w", encoding="utf-8") as f:
        f.write(f"""start {FIRST}
end {LAST}
interface vde0
lease_file {folder}/udhcpd.leases
pidfile {folder}/udhcpd.pid
offer_time 2
option subnet 255.255.255.0
option router {SERVER}
option lease 3600
""")
    open(f"{folder}/udhcpd.leases", "w", encoding="utf-8").close()
    server = member.start("udhcpd", "busybox", "udhcpd", "-f", config)
    server.says("started")
    return member, server


def start_daemon(lab, node):
    """Starts the daemon that keeps leases for CNI's dhcp plugin; returns the path of its socket."""
    socket = os.path.join(lab.dir, "dhcp.sock")
    node.start("dhcp", os.path.join(CNI_PLUGINS, "dhcp"), "daemon", "-socketpath", socket,
               "-pidfile", os.path.join(lab.dir, "dhcp.pid"), "-timeout", "2s", "-resendmax", "2s")
    wait_for(lambda: os.path.exists(socket), 5, "the daemon listens")
    return socket


def test_dhcp():
    """ADD returns the lease of a server on the cloud, in veth and tap mode; DEL returns it to the server"""
    with Lab("dhcp") as lab:
        node, other = lab.node("n1"), lab.node("n2")
        node.start_agent()
        member, server = start_server(lab, other)
        socket = start_daemon(lab, node)
        for mode in ("veth", "tap"):
            network = node.net(VNL, mode=mode, ipam={"type": "dhcp", "daemonSocketPath": socket})
            for number in range(5):  # more than there are addresses
                pod = node.pod(f"{mode}{number}")
                result = pod.add(network)
                address = result["ips"][0]["address"]
                assert pod.addresses("eth0") == [address] and address.startswith("203.0.113.10"), result
                assert {"dst": "0.0.0.0/0", "gw": SERVER} in result["routes"], result
                pod.reaches(SERVER)
                member.reaches(pod.ip4)
                row, = node.agent.ports()
                assert row["attachment"]["addresses"] == [address], row
                network.delete(pod)
                assert pod.links().keys() == {"lo"} and not node.agent.ports()


def test_no_server():
    """without a server, and without the daemon, ADD fails with the plugin's message, and nothing is left (A5)"""
    with Lab("dhcp") as lab:
        node = lab.node("n1")
        node.start_agent()
        pod = node.pod("pod")
        socket = start_daemon(lab, node)
        plain = node.net(VNL)
        plain.add(pod)
        plain.delete(pod)
        wait_for(lambda: not node.agent.clouds(), 5, "the cloud is left")
        before = node.footprint(pod)
        for path in (socket, "/nonexistent/dhcp.sock"):
            network = node.net(VNL, ipam={"type": "dhcp", "daemonSocketPath": path})
            try:
                network.add(pod)
            except CniError as error:
                assert "dhcp" in error.msg, error
            else:
                raise AssertionError("an address from nowhere")
            node.expect_footprint(pod, before, "ADD without an answer")


if __name__ == "__main__":
    runner.main(globals())
