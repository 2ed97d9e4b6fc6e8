"""Status for users and programs: vxvdectl, gRPC through reflection alone, health, metrics."""

import json

from tests.lib import runner
from tests.lib.lab import Lab, source
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3/vni=42"
REFLECT = "tests/status/grpc_reflect.py"
COMMANDS = ("status", "clouds", "ports", "peers", "fdb", "drops")


def lab_with_traffic(lab, config=None):
    """Two nodes with a pod each and a member, which have communicated."""
    n1, n2 = lab.node("n1"), lab.node("n2")
    n1.start_agent(config)
    n2.start_agent()
    pod, far = n1.pod("pod"), n2.pod("far")
    pod.add(n1.net(VNL), args="IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u-1")
    far.add(n2.net(VNL, mode="tap"))
    member = n2.vde_plug("member", VNL).join(1)
    pod.reaches(far.ip4)
    pod.reaches(member.ip4)
    return n1, n2, pod, far, member


def check_rows(n1, n2, pod, far, member, clouds, ports, peers, entries):
    """The rows of n1, as the proto's JSON mapping has them."""
    assert len(clouds) == 1, clouds
    cloud = clouds[0]
    assert (cloud["vnl"], cloud["group"], cloud["vni"]) == (VNL, "239.1.2.3", 42), cloud
    assert cloud["groupPort"] == 14789 and 14790 <= cloud["unicastPort"] <= 15813, cloud
    assert cloud["uplink"] == "eth0" and cloud["uplinkMtu"] == 1500 and cloud["datapath"] == "kernel", cloud
    assert len(ports) == 1, ports
    port = ports[0]
    assert port["mac"] == pod.mac("eth0") and port["mtu"] == 1450, port
    attachment = port["attachment"]
    assert attachment["containerId"] == pod.container and attachment["ifname"] == "eth0", port
    assert (attachment["podNamespace"], attachment["podName"]) == ("shop", "web-0"), port
    assert sorted(attachment["addresses"]) == sorted(pod.addresses("eth0")), port
    assert int(port["fromPod"]["frames"]) >= 2 and int(port["toPod"]["bytes"]) > 0, port
    assert len(peers) == 2 and all(p["address"].startswith(n2.ip4 + ":") for p in peers), peers
    where = {e["mac"]: e for e in entries}
    assert where[pod.mac("eth0")]["type"] == "STATIC" and where[pod.mac("eth0")]["location"]["port"] == port["id"]
    for station, ifname in ((far, "eth0"), (member, member.ifname)):
        entry = where[station.mac(ifname)]
        assert entry["type"] == "DYNAMIC" and entry["location"]["peer"] in [p["address"] for p in peers], entry


def test_vxvdectl():
    """every command as a table and as JSON; exit codes 0, 1, 2, 3"""
    with Lab("status") as lab:
        n1, n2, pod, far, member = lab_with_traffic(lab)
        ctl = n1.agent
        check_rows(n1, n2, pod, far, member, ctl.clouds(), ctl.ports(), ctl.peers(), ctl.fdb())
        status = ctl.ctl_json("status")
        assert status["name"] == "n1" and status["portCount"] == 1 and status["peerCount"] == 2, status
        for command in COMMANDS:
            for form in ("table", "wide"):
                lines = ctl.ctl("-o", form, command).stdout.splitlines()
                assert lines and lines[0] == lines[0].upper() or command == "status", (command, lines)
            json.loads(ctl.ctl("-o", "json", command).stdout)
        for command, words in (("clouds", ["239.1.2.3"]), ("ports", [pod.mac("eth0")]), ("peers", [n2.ip4]),
                               ("fdb", [far.mac("eth0"), pod.mac("eth0")]), ("status", ["n1"])):
            text = ctl.ctl(command).stdout
            assert all(word in text for word in words), f"{command}:\n{text}"

        # explain: a known station, an unknown one, and a cloud that does not exist.
        said = ctl.ctl("explain", VNL, pod.mac("eth0"), far.mac("eth0")).stdout
        assert n2.ip4 in said, said
        assert ctl.ctl_json("explain", VNL, pod.mac("eth0"), "ff:ff:ff:ff:ff:ff")["action"] == "FLOOD"
        assert ctl.ctl_json("explain", VNL, far.mac("eth0"), pod.mac("eth0"))["action"] == "TO_PORT"
        assert ctl.ctl("explain", "vxvde://239.9.9.9", pod.mac("eth0"), far.mac("eth0"), check=False).returncode == 1
        assert ctl.ctl("explain", VNL, "not-a-mac", far.mac("eth0"), check=False).returncode in (1, 2)

        assert ctl.ctl("--no-such-option", check=False).returncode == 2
        assert ctl.ctl("no-such-command", check=False).returncode == 2
        ctl.stop()
        done = ctl.ctl("status", check=False)
        assert done.returncode == 3 and "status.sock" in done.stderr, done


def test_watch():
    """vxvdectl watch prints events"""
    with Lab("status") as lab:
        node = lab.node("n1")
        node.start_agent()
        watch = node.start("watch", *node.agent.ctl_argv("watch"))
        network, pod = node.net(VNL), node.pod("pod")
        wait_for(lambda: "n1" in watch.output(), 10, "the node is the first thing told")
        pod.add(network)
        wait_for(lambda: "239.1.2.3" in watch.output(), 10, "the cloud is joined")
        network.delete(pod)
        wait_for(lambda: "left" in watch.output().lower(), 10, "the cloud is left")


def test_grpc_by_reflection():
    """a Python grpcio client lists clouds, ports, peers and FDB, and checks health, without any .proto"""
    with Lab("status") as lab:
        n1, n2, pod, far, member = lab_with_traffic(lab)

        def call(method, request="{}"):
            return json.loads(n1.run("/usr/bin/python3", source("tests/status/grpc_reflect.py"), f"unix:{n1.agent.run_dir}/status.sock",
                                     method, request).stdout)

        check_rows(n1, n2, pod, far, member, call("vxvde.v1.Status/ListClouds")["clouds"],
                   call("vxvde.v1.Status/ListPorts")["ports"], call("vxvde.v1.Status/ListPeers")["peers"],
                   call("vxvde.v1.Status/ListFdb")["entries"])
        page = call("vxvde.v1.Status/ListFdb", '{"pageSize": 1}')
        assert len(page["entries"]) == 1 and page["nextPageToken"], page
        assert call("grpc.health.v1.Health/Check")["status"] == "SERVING"


def test_metrics():
    """Prometheus text, if an address is configured"""
    with Lab("status") as lab:
        n1, *_ = lab_with_traffic(lab, {"metrics": "127.0.0.1:9478"})
        text = n1.agent.metrics()
        samples = [line for line in text.splitlines() if line.startswith("vxvde_")]
        assert samples and any('cloud="' in line for line in samples), text


if __name__ == "__main__":
    runner.main(globals())
