"""cnitool, the caller by the authors of libcni, built from Debian's source packages with Debian's Go.

    Cnitool(node, "1.1.2").call("add", network, pod)"""

import glob
import json
import os

from tests.lib.apt import fetch, unpack
from tests.lib.process import run

FOLDER = "/var/tmp/vxvde-cnitool"
GO = f"{FOLDER}/go/root/usr/lib/go-1.24"
SUITES = {"1.1.2": "bookworm", "1.3.0": "sid"}


def make(version):
    """Path of cnitool; fetched and built if it is missing, about a minute."""
    program = f"{FOLDER}/cnitool-{version}"
    if os.path.exists(program):
        return program
    if not os.path.exists(f"{GO}/bin/go"):
        unpack(f"{FOLDER}/go", "trixie", "golang-1.24-go", "golang-1.24-src")
    sources = f"{FOLDER}/source-{version}"
    fetch(sources, "deb-src", SUITES[version], "source", "--tar-only", "golang-github-appc-cni")
    tree = f"{sources}/path/src/github.com/containernetworking/cni"
    os.makedirs(tree, exist_ok=True)
    archive, = glob.glob(f"{sources}/*_{version}.orig.tar.*")
    run(["tar", "-C", tree, "--strip-components=1", "-xf", archive])
    run(["sh", "-ec", f"cd {tree}; exec {GO}/bin/go build -o {program} ./cnitool"], timeout=600, env={
        **os.environ, "GOROOT": GO, "GOPATH": f"{sources}/path", "GOCACHE": f"{FOLDER}/cache", "GO111MODULE": "off",
        "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"})
    return program


class Cnitool:
    """In a mount namespace in which libcni's cache, /var/lib/cni, belongs to the node."""

    def __init__(self, node, version):
        self.node = node
        self._program = make(version)
        self._net_dir = node.lab.file(f"{node.name}-net.d")
        os.makedirs(self._net_dir)
        self._holder = node.start(
            "cnitool-mounts", "unshare", "--mount", "--propagation", "unchanged", "sh", "-ec",
            "mount --make-private /; mkdir -p /var/lib/cni; mount -t tmpfs tmpfs /var/lib/cni; echo mounted; "
            "exec sleep 100000").says("mounted")

    def configure(self, network):
        with open(os.path.join(self._net_dir, f"{network.conflist['name']}.conflist"), "w", encoding="utf-8") as f:
            json.dump(network.conflist, f)

    def _run(self, *argv, env=None):
        return run(["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--net={self.node.path}", "--", *argv],
                   check=False, env=env)

    def call(self, verb, network, pod, ifname="eth0", capabilities=None, args=""):
        """The CompletedProcess; cnitool derives the container's id from the namespace's path."""
        env = {"CNI_PATH": ":".join(network.plugin_dirs), "NETCONFPATH": self._net_dir, "CNI_IFNAME": ifname,
               "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        if capabilities:
            env["CAP_ARGS"] = json.dumps(capabilities)
        if args:
            env["CNI_ARGS"] = args
        return self._run(self._program, verb, network.conflist["name"], pod.path, env=env)

    def succeeds(self, verb, network, pod, **kwargs):
        """Its output."""
        done = self.call(verb, network, pod, **kwargs)
        assert done.returncode == 0, f"{verb}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, word, verb, network, pod, **kwargs):
        done = self.call(verb, network, pod, **kwargs)
        assert done.returncode != 0 and word in done.stderr, f"{verb}: {word!r} is not in: {done.stdout}{done.stderr}"
