"""Writes tests/golden/previous.json: the messages between the plugin and the agent of a version, and the files that its agent
leaves in its run-dir. To be run with the programs of the version that is about to become the previous one:

  tests/py.sh tests/golden/record.py FOLDER NAME

FOLDER contains vxvde, vxvde-agent and vxvdectl; NAME identifies the version for readers."""

import glob
import json
import os
import sys

from tests.lib.cni import execute
from tests.lib.handoff import Recorder
from tests.lib.lab import Agent, Lab

VNL = "vxvde://239.1.2.3"
SUBNETS = {"clouds": [{"name": "own", "vnl": "vxvde://239.1.2.3/vni=7", "subnets": ["198.51.100.0/24"]}]}
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "previous.json")


def record(folder, name):
    with Lab("record") as lab:
        node = lab.node("n1")
        node.agent = Agent(node, {"node": "golden", **SUBNETS})
        node.agent.program = os.path.join(folder, "vxvde-agent")
        node.agent.start()
        recorder = Recorder(lab.file("recorder.sock"), node.agent.socket)
        talks, files = {}, {}

        def call(what, command, pod, container, ifname="eth0", **section):
            config = {"cniVersion": "1.1.0", "name": "golden", "type": "vxvde", "agent": recorder.path, **section}
            environment = {"CNI_PATH": "/usr/lib/cni"}
            if pod is not None:
                environment |= {"CNI_CONTAINERID": container, "CNI_NETNS": pod.path, "CNI_IFNAME": ifname}
            done = execute(node, os.path.join(folder, "vxvde"), command, config, environment=environment)
            assert done.returncode == 0, f"{what}: {done.stdout} {done.stderr}"
            talks[what] = recorder.take()
            return json.loads(done.stdout) if done.stdout else None

        static = {"vnl": VNL, "ipam": {}, "runtimeConfig": {"ips": ["198.51.100.9/24"], "mac": "02:00:5e:10:00:09"},
                  "capabilities": {"ips": True, "mac": True}}
        veth, tap, own = node.pod("veth"), node.pod("tap"), node.pod("own")
        result = call("ADD veth", "ADD", veth, "c1", **static)
        call("CHECK veth", "CHECK", veth, "c1", **static, prevResult=result)
        call("STATUS", "STATUS", None, "", vnl=VNL)
        call("ADD tap", "ADD", tap, "c2", vnl=VNL, ipam={}, mode="tap")
        call("ADD own", "ADD", own, "c3", cloud="own")
        for path in glob.glob(f"{node.agent.run_dir}/*/*.json") + [f"{node.agent.run_dir}/clouds.json"]:
            with open(path, encoding="utf-8") as f:
                files[os.path.relpath(path, node.agent.run_dir)] = f.read()
        call("DEL tap", "DEL", tap, "c2", vnl=VNL, ipam={}, mode="tap")
        own.ip("link", "del", "eth0")
        call("GC", "GC", None, "", cloud="own", **{"cni.dev/valid-attachments": [
            {"containerID": "c1", "ifname": "eth0"}]})
        call("DEL veth", "DEL", veth, "c1", **static)
        recorder.close()
    with open(OUT, "w", encoding="utf-8") as f:
        json.dump({"of": name, "talks": talks, "files": files}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    record(*sys.argv[1:])
