"""Rules that the kernel refuses: every report shows them, and they recover without help."""

import json

from tests.cni.verbs_test import call
from tests.datapath.host_test import add, net, node_port
from tests.lib import runner
from tests.lib.cni import CniError
from tests.lib.lab import Lab, source
from tests.lib.process import wait_for

# Owns a table until it is killed: nft -i ends with its input, and the kernel then removes the table.
OWNER = """
import subprocess, sys
nft = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, text=True)
nft.stdin.write(f"add table {sys.argv[1]}; delete table {sys.argv[1]}; add table {sys.argv[1]} {{ flags owner; }}\\n")
nft.stdin.flush()
print("asked", flush=True)
nft.wait()
"""
PARTS = {"firewall": "inet vxvde", "underlay-wall": "inet vxvde-underlay", "host-end-wall": "inet vxvde-wall"}


def metrics(node):
    return [line for line in node.agent.metrics().splitlines() if line.startswith(("vxvde_nftables_problem", "vxvde_node_warning"))]


def health(node):
    return json.loads(node.run("/usr/bin/python3", source("tests/status/grpc_reflect.py"), f"unix:{node.agent.run_dir}/status.sock",
                               "grpc.health.v1.Health/Check", "{}").stdout)["status"]


def red_by(node, network, part):
    """Returns whether every report names the table of this part, and none blames another part."""
    table = PARTS[part]
    status = node.agent.ctl_json("status")
    if f"table {table}:" not in status.get("warning", "") or "owns" not in status["warning"]:
        return False
    assert status["notReady"] == status["warning"], status
    assert "Warning: " in node.agent.ctl("status").stdout
    error = call(network, "STATUS")
    assert error is not None and error.code == 50 and table in error.msg, (part, error)
    found = metrics(node)
    assert "vxvde_node_warning 1" in found, found
    for other in PARTS:
        line, = [line for line in found if f'part="{other}"' in line]
        assert line.endswith(" 1" if other == part else " 0") and (table in line) == (other == part), (part, line)
    rows = [p.get("problem", "") for p in node.agent.ports() if p.get("attachment", {}).get("mode") == "node"]
    assert any(table in row for row in rows) == (part == "firewall"), (part, rows)
    return health(node) == "NOT_SERVING"


def green(node, network):
    status = node.agent.ctl_json("status")
    return (not status.get("warning") and not status.get("notReady") and call(network, "STATUS") is None and
            "vxvde_node_warning 0" in metrics(node) and health(node) == "SERVING")


def test_a_table_that_another_program_owns():
    """each of the agent's tables: red in status, STATUS, health, metrics and ports, then green within 5 s"""
    with Lab("nftables") as lab:
        node = lab.node("n1")
        node.start_agent({"metrics": "127.0.0.1:9478",
                          "clouds": [{"name": "blue", "vnl": "vxvde://239.1.2.3/vni=7", "gateway": True,
                                      "subnets": ["198.51.100.0/24"]}]})
        node_port(node)
        network = net(node)
        pod = add(node, "p1")
        wait_for(lambda: green(node, network), 10, "all is well at first")
        for part, table in PARTS.items():
            owner = node.start(f"owner-{part}", "/usr/bin/python3", "-c", OWNER, table)
            owner.says("asked")
            wait_for(lambda: red_by(node, network, part), 10, f"{part} is red")
            pod.reaches(node_port(node)[0])  # existing ports continue to work
            if part == "firewall":
                try:
                    add(node, "p2", ports=[{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}])
                except CniError as error:
                    assert table in error.msg and "owns" in error.msg, error
                else:
                    raise AssertionError("a port was published without a rule")
            owner.kill()
            wait_for(lambda: green(node, network), 5, f"{part} is green again")
            assert "flags owner" not in node.run("nft", "list", "table", *table.split()).stdout
        # The table is taken before the agent starts: the gateway waits.
        node.agent.stop()
        owner = node.start("owner", "/usr/bin/python3", "-c", OWNER, "inet vxvde")
        owner.says("asked")
        wait_for(lambda: "inet vxvde\n" in node.run("nft", "list", "tables").stdout, 5, "the table is taken")
        node.agent.start()
        wait_for(lambda: red_by(node, network, "firewall"), 10, "red from the start")
        owner.kill()
        wait_for(lambda: green(node, network), 5, "green after the start")
        again = add(node, "p3", ports=[{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}])
        assert f"8080 : {again.ip4} . 80" in node.run("nft", "list", "table", "inet", "vxvde").stdout


if __name__ == "__main__":
    runner.main(globals())
