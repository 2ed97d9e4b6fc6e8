"""netavark's side of its plugin API: the calls of podman 5 and netavark to a driver, and nothing more."""

import json

from tests.lib.lab import program
from tests.lib.process import run


class DriverError(AssertionError):
    """The driver failed; `error` as in its JSON."""

    def __init__(self, argv, done):
        self.error = json.loads(done.stdout)["error"]  # N2: whatever happens
        super().__init__(f"{argv}: exit {done.returncode}: {self.error}; stderr: {done.stderr}")


def execute(node, argv, document, prefix=()):
    """Runs the driver in `node`. `document` is a dict, or text that is not JSON. Returns the CompletedProcess."""
    text = document if isinstance(document, str) else json.dumps(document)
    return run(["nsenter", f"--net={node.path}", "--", *prefix, program("cni/vxvde"), *argv], check=False, input=text,
               env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


def call(node, argv, document):
    """The same, with a failure as a DriverError. Returns its output."""
    done = execute(node, argv, document)
    if done.returncode != 0:
        raise DriverError(argv, done)
    return done.stdout


class PodmanNetwork:
    """A network as `podman network create -d vxvde` creates it; `fields` are those that its options set."""

    def __init__(self, node, name, **fields):
        self.node = node
        asked = {"name": name, "id": f"{name:0<64}", "driver": "vxvde", "ipv6_enabled": False, "internal": False,
                 "dns_enabled": True, "ipam_options": {}, **fields}
        asked["options"] = {"agent": node.agent.socket, **(asked.get("options") or {})}
        self.network = json.loads(call(node, ["create"], asked))
        for key in ("name", "id", "driver"):
            assert self.network[key] == asked[key], (key, self.network)
        # After the plugin podman sets the first address of each subnet as its gateway.
        for subnet in self.network.get("subnets") or []:
            if not self.network["internal"] and not subnet.get("gateway"):
                address, _ = subnet["subnet"].split("/")
                subnet["gateway"] = f"{address}1" if ":" in address else address.rsplit(".", 1)[0] + ".1"

    def document(self, pod, ifname="eth0", ips=None, mac=None, options=None, ports=None):
        """Standard input of setup and teardown, as netavark 1.14 writes it."""
        return {"container_id": pod.container, "container_name": pod.name, "port_mappings": ports,
                "network": self.network,
                "network_options": {"aliases": [pod.container[:12]], "interface_name": ifname, "static_ips": ips,
                                    "static_mac": mac, "options": options}}

    def setup(self, pod, ifname="eth0", **kwargs):
        """The status of the interface."""
        status = json.loads(call(self.node, ["setup", pod.path], self.document(pod, ifname, **kwargs)))
        assert status["dns_search_domains"] == [] and status["dns_server_ips"] == [], status
        assert list(status["interfaces"]) == [ifname], status
        return status["interfaces"][ifname]

    def teardown(self, pod, ifname="eth0", netns=None, **kwargs):
        said = call(self.node, ["teardown", netns or pod.path], self.document(pod, ifname, **kwargs))
        assert said == "", f"teardown said {said!r}"
