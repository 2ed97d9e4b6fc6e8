"""Plugin and agent of different versions: recorded messages and files of the preceding version (golden/previous.json) are
passed to the programs of this tree. previous_test.py does the same with the programs themselves, where they exist."""

import array
import json
import os
import socket

from tests.lib import runner
from tests.lib.cni import CniError, execute
from tests.lib.handoff import RecordedAgent, body, connect, fields, kind
from tests.lib.lab import Lab, program, source
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3"
CONFIG = {"clouds": [{"name": "own", "vnl": "vxvde://239.1.2.3/vni=7", "subnets": ["198.51.100.0/24"]}]}
PLANNED, COMMITTED, DETACHED, PONG, CHECKED, LISTED = 2, 3, 4, 5, 6, 7  # of Reply
# Fields of an answer that depend on the moment: Planned.gso_max_size and addresses, Committed.port, Pong.version and
# problem, and listed attachments.
OF_THE_MOMENT = {PLANNED: {6, 9}, COMMITTED: {1}, PONG: {1, 2}, LISTED: {1}}


def golden():
    with open(source("tests/golden/previous.json"), encoding="utf-8") as f:
        return json.load(f)


def tap(pod, ifname="eth0"):
    """Descriptor of a tap of that namespace, as a plugin makes it."""
    # A separate program, because a thread of Python cannot easily enter another namespace.
    code = ("import fcntl,os,socket,struct,sys\n"
            "f=os.open('/dev/net/tun',os.O_RDWR|os.O_NONBLOCK)\n"
            "fcntl.ioctl(f,0x400454ca,struct.pack('16sH22x',sys.argv[1].encode(),0x2|0x1000|0x4000))\n"
            "s=socket.socket(fileno=int(sys.argv[2]))\n"
            "socket.send_fds(s,[b'x'],[f])\n")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pod.run("/usr/bin/python3", "-c", code, ifname, theirs.fileno(), pass_fds=[theirs.fileno()])
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    return fds[0]


def make_link(node, pod, planned):
    """The objects that the previous plugin creates between Plan and Commit: the pair, with the planned names and marks."""
    told = dict(planned)
    host, alias, mac = told[4].decode(), told[5].decode(), ":".join(f"{byte:02x}" for byte in told[2])
    node.ip("link", "add", host, "mtu", told[3], "type", "veth",
            "peer", "name", "eth0", "mtu", told[3], "address", mac, "netns", pod.path)
    node.ip("link", "set", host, "alias", alias, "up")
    pod.ip("link", "set", "eth0", "alias", alias, "up")


def replay(node, agent, talks, pod):
    """Sends the plugin's part of `talks` to this agent; each answer must contain at least the content of the recorded one."""
    for talk in talks:
        with connect(agent.socket) as connection:
            planned = None
            for (_, asked), (_, answered) in zip(talk[::2], talk[1::2]):
                asked, answered, fds = bytes.fromhex(asked), bytes.fromhex(answered), []
                if planned is not None:
                    if 4 in dict(planned):
                        make_link(node, pod, planned)
                    else:
                        fds = [tap(pod)]
                socket.send_fds(connection, [asked], array.array("i", fds))
                for fd in fds:
                    os.close(fd)
                answer = connection.recv(65536)
                assert kind(answer) == kind(answered), f"{asked!r}: {answer!r} instead of {answered!r}"
                volatile = OF_THE_MOMENT.get(kind(answer), set())
                missing = [one for one in body(answered) if one[0] not in volatile and one not in body(answer)]
                assert not missing, f"{asked!r}: {missing} is not in {body(answer)}"
                if kind(answer) == PLANNED and 9 in dict(body(answered)):
                    assert dict(body(answer))[9].startswith(b"198.51.100."), answer
                if kind(answer) == PLANNED:
                    planned = body(answer)


def test_previous_plugin():
    """this agent serves the previous version's plugin: ADD in both modes and with the agent's addresses, CHECK, STATUS, GC, DEL"""
    talks = golden()["talks"]
    with Lab("skew") as lab:
        node = lab.node("n1")
        agent = node.start_agent({**CONFIG, "node": "golden"})
        pods = {what: node.pod(what) for what in ("veth", "tap", "own")}
        attached = lambda: sorted(port["attachment"]["containerId"] for port in agent.ports()
                                  if "containerId" in port.get("attachment", {}))
        for what in ("ADD veth", "CHECK veth", "STATUS", "ADD tap", "ADD own"):
            replay(node, agent, talks[what], pods[what.split()[-1]] if " " in what else None)
        assert attached() == ["c1", "c2", "c3"]
        replay(node, agent, talks["DEL tap"], None)
        pods["own"].ip("link", "del", "eth0")
        wait_for(lambda: attached() == ["c1"], 10, "the one without an interface has ended")
        replay(node, agent, talks["GC"], None)
        assert not os.listdir(f"{agent.run_dir}/ended"), "which GC has forgotten"
        replay(node, agent, talks["DEL veth"], None)
        assert not attached() and not agent.clouds()


def test_previous_agent():
    """this plugin works with the previous version's agent: ADD, CHECK, STATUS, GC, DEL"""
    talks = golden()["talks"]
    with Lab("skew") as lab:
        node = lab.node("n1")
        said = [talk for what in talks for talk in talks[what]]

        def call(agent, command, pod, container, **section):
            config = {"cniVersion": "1.1.0", "name": "golden", "type": "vxvde", "agent": agent.path, **section}
            environment = {"CNI_PATH": "/usr/lib/cni"}
            if pod is not None:
                environment |= {"CNI_CONTAINERID": container, "CNI_NETNS": pod.path, "CNI_IFNAME": "eth0"}
            done = execute(node, program("cni/vxvde"), command, config, environment=environment)
            if done.returncode != 0:
                raise CniError(command, "vxvde", done)
            return json.loads(done.stdout) if done.stdout else None

        for what, container, section in (
                ("veth", "c1", {"vnl": VNL, "ipam": {}, "runtimeConfig": {"ips": ["198.51.100.9/24"]},
                                "capabilities": {"ips": True}}),
                ("tap", "c2", {"vnl": VNL, "ipam": {}, "mode": "tap"}), ("own", "c3", {"cloud": "own"})):
            pod = node.pod(what)
            mine = [talk for name in (f"ADD {what}", f"CHECK {what}") for talk in talks.get(name, [])]
            planned = dict(body(bytes.fromhex(talks[f"ADD {what}"][0][1][1])))
            agent = RecordedAgent(lab.file(f"{what}.sock"), said + mine)
            result = call(agent, "ADD", pod, container, **section)
            inside = result["interfaces"][-1]
            assert bytes.fromhex(inside["mac"].replace(":", "")) == planned[2] and inside["mtu"] == planned[3], result
            assert pod.mac("eth0") == inside["mac"]
            if what == "own":
                assert [ip["address"] for ip in result["ips"]] == [planned[9].decode()]
            if what == "veth":
                call(agent, "CHECK", pod, container, **section, prevResult=result)
            call(agent, "STATUS", None, "", **section)
            call(agent, "DEL", pod, container, **section, prevResult=result)
            assert pod.links().keys() == {"lo"} and not [name for name in node.links() if name.startswith("vx")]
            agent.close()
        agent = RecordedAgent(lab.file("gc.sock"), talks["GC"])
        call(agent, "GC", None, "", cloud="own", **{"cni.dev/valid-attachments": []})
        assert agent.asked.count(3) == 2, f"both that are listed, and dead, are detached: {agent.asked}"
        agent.close()


def test_previous_files():
    """this agent restores the run-dir of the previous one, and still writes everything that the previous one reads"""
    files = golden()["files"]
    with Lab("skew") as lab:
        node = lab.node("n1")
        run_dir = lab.file("n1-run")
        for name, text in files.items():
            os.makedirs(os.path.dirname(os.path.join(run_dir, name)), exist_ok=True)
            with open(os.path.join(run_dir, name), "w", encoding="utf-8") as f:
                f.write(text)
        records = [json.loads(text) for name, text in files.items() if name.startswith("attachments/")]
        veths = [one for one in records if one["mode"] == "veth"]
        assert len(veths) == 2 and any(name.startswith("leases/") for name in files)
        for one in veths:
            pod = node.pod(one["container_id"])
            make_link(node, pod, [(2, bytes.fromhex(one["mac"].replace(":", ""))), (3, one["mtu"]),
                                  (4, one["host_ifname"].encode()), (5, f"vxvde:{one['id']}".encode())])
        agent = node.start_agent({**CONFIG, "node": "golden"})
        assert agent.run_dir == run_dir
        assert "set aside" not in agent.process.output()
        ports = {port["attachment"]["containerId"]: port for port in agent.ports()
                 if "containerId" in port.get("attachment", {})}
        assert ports.keys() == {one["container_id"] for one in veths}, "the tap's namespace is gone, and its pod with it"
        for one in veths:
            port = ports[one["container_id"]]
            assert port["mac"] == one["mac"] and port["attachment"].get("addresses", []) == one["addresses"], port
        unicast = {(one["group"], one["vni"]): one["unicast_port"] for one in json.loads(files["clouds.json"])["clouds"]}
        assert {(c["group"], c.get("vni", 0)): c["unicastPort"] for c in agent.clouds()} == unicast
        leased = {one["lease"]: one["address"] for one in agent.ctl_json("ipam")["addresses"] if one["use"] == "LEASED"}
        assert leased == {one["id"]: one["addresses"][0].split("/")[0] for one in veths if one["container_id"] == "c3"}

        # A downgrade: each key keeps its place and its meaning.
        for name, text in files.items():
            if name.startswith("attachments/") and json.loads(text)["mode"] == "tap":
                continue
            now = json.load(open(os.path.join(run_dir, name), encoding="utf-8"))
            different = {key: (value, now.get(key)) for key, value in json.loads(text).items()
                         if key != "checksum" and now.get(key) != value}
            assert not different, f"{name}: {different}"


def test_another_protocol():
    """impossible combinations: a plugin of another protocol is refused with a code and a message"""
    with Lab("skew") as lab:
        node = lab.node("n1")
        agent = node.start_agent()
        with connect(agent.socket) as connection:
            connection.send(bytes.fromhex("22007802"))  # Ping, protocol 2
            answer = connection.recv(65536)
            assert kind(answer) == 1, answer
            error = dict(body(answer))
            assert error[1] == 100 and b"protocol 2" in error[2] and error[3], error
        # A message of a later version of protocol 1: unknown fields are no reason to refuse it.
        with connect(agent.socket) as connection:
            connection.send(bytes.fromhex("2206fa3e036e65777801"))  # Ping with a field 999 "new", protocol 1
            assert kind(connection.recv(65536)) == PONG
        assert fields(bytes.fromhex("7801")) == [(15, 1)]


if __name__ == "__main__":
    runner.main(globals())
