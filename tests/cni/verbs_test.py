"""CHECK, STATUS, GC, and DEL while the agent is down: the real programs, with Debian's host-local.

Ids such as (C1) are requirements in docs/RUNTIMES.md."""

import glob
import json
import os
import re
import signal
import time

from tests.lib import runner
from tests.lib.cni import CniError, execute
from tests.lib.lab import CNI_PLUGINS, Lab, program
from tests.lib.process import wait_for

VNL = "vxvde://239.1.2.3"


def call(network, command, pod=None, config=None, **more):
    """One call of the plugin. Returns None, or the CniError; stdout must be empty on success."""
    environment = {"CNI_PATH": ":".join(network.plugin_dirs)}
    if pod is not None:
        environment = network.environment(pod.container, pod.path, "eth0")
    config = {**next(network.configs()), **(config or {}), **more}
    done = execute(network.node, program("cni/vxvde"), command, config, environment=environment)
    if done.returncode == 0:
        assert done.stdout == "", f"{command} said something on stdout: {done.stdout}"
        network.said = done.stderr
        return None
    return CniError(command, "vxvde", done)


def expect(error, code, *words):
    assert error is not None, f"expected code {code}, got success"
    assert error.code == code, error
    assert error.details, f"no remedy: {error}"
    for word in words:
        assert word in error.msg + error.details, f"{word!r} is not named: {error}"


def check(network, pod, **more):
    return call(network, "CHECK", pod, prevResult=network.results[pod.container, "eth0"], **more)


def test_check():
    """C1: CHECK passes right after ADD, in veth and tap mode; each change is named"""
    with Lab("verbs") as lab:
        node = lab.node("n1")
        agent = node.start_agent()
        for mode in ("veth", "tap"):
            network = node.net(VNL, mode=mode, routes=[{"dst": "203.0.113.0/24"}])
            pod = node.pod(mode)
            pod.add(network)
            for version in ("0.4.0", "1.0.0"):
                assert check(network, pod, cniVersion=version) is None
            expect(call(network, "CHECK", pod), 7, "prevResult")
            expect(check(network, pod, cniVersion="0.3.1"), 1, "0.3.1")

            # Additions of other plugins are permitted.
            pod.ip("address", "add", "203.0.113.9/24", "dev", "eth0")
            pod.ip("link", "add", "other", "type", "bridge")
            pod.ip("route", "add", "192.0.2.0/24", "dev", "eth0")
            assert check(network, pod) is None

            # tuning lowers the MTU and leaves the result as it was, with cniVersion 1.1.0 as well.
            pod.ip("link", "set", "eth0", "mtu", "1300")
            previous = network.results[pod.container, "eth0"]
            inside = [{**one, "mtu": 1450} if one.get("sandbox") else one for one in previous["interfaces"]]
            error = call(network, "CHECK", pod, cniVersion="1.1.0",
                         prevResult={**previous, "cniVersion": "1.1.0", "interfaces": inside})
            assert error is None, error

            # Each change is made to a newly attached pod. The messages belong to code 112, except for changes that the
            # agent detects first.
            for codes, word, change in (
                    ((112,), "eth0 is down", lambda: pod.ip("link", "set", "eth0", "down")),
                    ((112,), "198.51.100.", lambda: pod.ip("address", "del", f"{pod.ip4}/24", "dev", "eth0")),
                    ((112,), "203.0.113.0/24", lambda: pod.ip("route", "flush", "203.0.113.0/24")),
                    ((112,), "77", lambda: pod.ip("link", "set", "eth0", "address", "02:00:5e:10:00:77")),
                    ((112,), "1500", lambda: pod.ip("link", "set", "eth0", "mtu", "1500")),
                    ((112,), "not the one", lambda: pod.ip("link", "set", "eth0", "alias", "mine")),
                    ((112, 111, 110), "eth0", lambda: pod.ip("link", "del", "eth0"))):
                network.delete(pod)
                for link in pod.links().keys() - {"lo"}:
                    pod.ip("link", "del", link)
                pod.add(network)
                error = check(network, pod)
                assert error is None, error
                change()
                error = check(network, pod)
                assert error is not None and error.code in codes and error.details, (word, error)
                assert word in error.msg, (word, error)
            network.delete(pod)

        # Errors that the agent reports.
        network, pod = node.net(VNL), node.pod("again")
        pod.add(network)
        agent.stop()
        expect(check(network, pod), 11, agent.socket)
        agent.start()
        assert check(network, pod) is None, "after a restart of the agent"
        node.ip("link", "set", "eth0", "down")
        expect(check(network, pod), 111, "eth0")
        node.ip("link", "set", "eth0", "up")
        for lease in node.leases():
            os.remove(lease)
        error = check(network, pod)
        assert error is not None and "host-local" in error.msg, f"the IPAM plugin's CHECK: {error}"
        network.delete(pod)


def test_status():
    """S1: 0 ready; 50 cannot ADD; 51 and pods are cut off; a restart of the agent is not an outage"""
    with Lab("verbs") as lab:
        node = lab.node("n1")
        agent = node.start_agent({"clouds": [{"name": "blue", "vnl": VNL}]})
        network, pod = node.net(VNL), node.pod("pod")
        error = call(network, "STATUS")
        assert error is None, error
        assert not agent.clouds(), "a question joins no cloud"
        named = {k: v for k, v in next(network.configs()).items() if k != "vnl"}
        assert call(network, "STATUS", config=named, vnl="", cloud="blue") is None
        expect(call(network, "STATUS", vnl="", cloud="mauve"), 50, "mauve")
        expect(call(network, "STATUS", ipam={"type": "nowhere"}), 50, "nowhere")

        node.ip("link", "set", "eth0", "down")
        expect(call(network, "STATUS"), 50)
        node.ip("link", "set", "eth0", "up")
        node.route_multicast("eth0")
        pod.add(network)
        assert call(network, "STATUS") is None
        node.ip("link", "set", "eth0", "down")
        expect(call(network, "STATUS"), 51, "eth0")
        node.ip("link", "set", "eth0", "up")
        node.route_multicast("eth0")
        assert call(network, "STATUS") is None

        # A planned restart: the call begins while the agent is down, and is answered when it is back.
        agent.stop()
        asking = node.start("status", "sh", "-c", f"CNI_COMMAND=STATUS CNI_PATH={CNI_PLUGINS} "
                            f"{program('cni/vxvde')} < {config_file(lab, network)}; echo exit $?")
        agent.start()
        asking.says("exit 0")

        agent.stop(signal.SIGKILL)
        expect(call(network, "STATUS"), 51, agent.socket)
        network.delete(pod)
        agent.start()
        assert call(network, "STATUS") is None and not agent.ports()
        agent.stop()
        expect(call(network, "STATUS"), 50, agent.socket)


def config_file(lab, network):
    path = lab.file("config.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(next(network.configs()), f)
    return path


def test_del_is_queued():
    """D1: a DEL without an agent is carried out at the agent's start, before anything is restored; torn files are set aside"""
    with Lab("verbs") as lab:
        node = lab.node("n1")
        agent = node.start_agent()
        queue = os.path.join(agent.run_dir, "queue")
        for mode in ("veth", "tap"):
            network, pod, stays = node.net(VNL, mode=mode), node.pod(f"{mode}1"), node.pod(f"{mode}2")
            pod.add(network)
            stays.add(network)
            agent.stop()
            network.delete(pod)
            network.delete(pod)
            assert len(os.listdir(queue)) == 1 and os.stat(queue).st_mode & 0o777 == 0o700
            for name, text in (("torn.json", '{"version": 1, "netw'), ("README", "hello")):
                with open(os.path.join(queue, name), "w", encoding="utf-8") as f:
                    f.write(text)
            agent.start()
            assert attached(agent) == [stays.container], agent.ports()
            assert sorted(os.listdir(queue)) == ["README.bad", "torn.json.bad"], os.listdir(queue)
            assert "set aside" in agent.process.output()
            for name in os.listdir(queue):
                os.remove(os.path.join(queue, name))

            # The same container returns: the old DEL must not end the new attachment.
            agent.stop()
            network.delete(pod)
            os.rename(os.path.join(queue, os.listdir(queue)[0]), lab.file("kept"))
            agent.start()
            pod.add(network)
            assert not os.listdir(queue)
            agent.stop()
            agent.start()
            assert len(agent.ports()) == 2
            network.delete(pod)
            network.delete(stays)
            wait_for(lambda: not agent.clouds(), 5, "the cloud is left")


def attached(agent):
    return sorted(port["attachment"]["containerId"] for port in agent.ports())


def gc(network, *valid, **more):
    listed = [{"containerID": pod.container, "ifname": "eth0"} for pod in valid]
    return call(network, "GC", cniVersion="1.1.0", **{"cni.dev/valid-attachments": listed, **more})


def test_gc():
    """G1: attachments that are neither listed nor alive are removed, leases too; nothing else is touched"""
    with Lab("verbs") as lab:
        node = lab.node("n1")
        agent = node.start_agent()
        network, other = node.net(VNL), node.net(VNL, name="green", ipam={})
        pods = {name: node.pod(name) for name in ("valid", "alive", "dead", "tap")}
        tap = node.net(VNL, mode="tap")
        for name, pod in pods.items():
            (tap if name == "tap" else network).add(pod)
        elsewhere = node.pod("elsewhere")
        other.add(elsewhere)
        for name in ("dead", "tap"):
            pods[name].remove_netns()
        elsewhere.remove_netns()
        # A tap's namespace stays alive while the agent holds its queue: GC or the periodic comparison ends that.
        wait_for(lambda: len(agent.ports()) == 3, 5, "the agent sees that two are gone")
        ended = lambda: sorted(os.path.basename(p) for p in glob.glob(f"{agent.run_dir}/ended/*"))
        assert len(ended()) == 2 and len(node.leases()) == 8, (ended(), node.leases())

        # Without the key nothing is removed.
        expect(call(network, "GC", cniVersion="1.1.0"), 7, "cni.dev/valid-attachments")
        expect(call(network, "GC", cniVersion="1.0.0", **{"cni.dev/attachments": []}), 1, "1.0.0")
        assert len(ended()) == 2 and len(node.leases()) == 8

        agent.stop()
        agent.start()  # the agent remembers ended attachments
        assert gc(network, pods["valid"]) is None
        assert "alive" in network.said and "left alone" in network.said, network.said
        assert attached(agent) == sorted(pods[name].container for name in ("valid", "alive"))
        assert len(ended()) == 1, "that of another network stays"
        assert len(node.leases()) == 4, node.leases()
        for name in ("valid", "alive"):
            assert check(network, pods[name]) is None, "untouched"
        assert gc(network, pods["valid"]) is None, "twice"

        # [] covers all of this network; a living attachment is still left alone.
        pods["alive"].ip("link", "del", "eth0")
        wait_for(lambda: len(agent.ports()) == 1, 5, "the agent sees that it is gone")
        assert gc(network) is None
        assert len(node.leases()) == 2 and len(agent.ports()) == 1 and len(ended()) == 1
        assert gc(other) is None
        assert not ended()

        agent.stop()
        expect(gc(network), 11, agent.socket)
        assert len(node.leases()) == 2, "without the agent's word nothing is removed"
        agent.start()
        network.delete(pods["valid"])
        assert not node.leases() and not agent.ports()


def test_vxvdectl_check_and_gc():
    """vxvdectl: check names each attachment with a problem, gc forgets ended ones that no runtime asks for"""
    with Lab("verbs") as lab:
        node = lab.node("n1")
        agent = node.start_agent()
        network, other = node.net(VNL), node.net(VNL, name="green", mode="tap", ipam={})
        pods = {name: node.pod(name) for name in ("stays", "tap", "dead", "cut")}
        for name, pod in pods.items():
            (other if name == "tap" else network).add(pod)
        agent.ctl("check")
        rows = {row["containerId"]: row for row in agent.ctl_json("check")["attachments"]}
        assert rows.keys() == {pod.container for pod in pods.values()}, rows
        assert not any(row["problem"] for row in rows.values()), rows

        node.ip("link", "set", "eth0", "down")
        done = agent.ctl("check", check=False)
        assert done.returncode == 1 and "4 of 4" in done.stderr, done
        assert all(word in done.stdout for word in ("PROBLEM", pods["tap"].container, "eth0", "is down")), done
        assert "ip link set eth0 up" in agent.ctl("-o", "wide", "check", check=False).stdout
        node.ip("link", "set", "eth0", "up")
        wait_for(lambda: agent.ctl("check", check=False).returncode == 0, 10, "all is well again")

        assert "attachments" in agent.ctl_json("gc") and not agent.ctl_json("gc")["attachments"]
        pods["dead"].remove_netns()
        pods["cut"].ip("link", "del", "eth0")
        wait_for(lambda: len(agent.ports()) == 2, 5, "the agent sees that two are gone")

        def collect(*args):
            return {row["containerId"]: row["result"] for row in agent.ctl_json("gc", *args)["attachments"]}
        dead, cut = pods["dead"].container, pods["cut"].container
        for _ in range(2):
            assert collect("--dry-run") == {dead: "would be forgotten", cut: "kept: its namespace exists"}
        assert collect()[dead] == "forgotten" and collect().keys() == {cut}
        assert attached(agent) == sorted(pods[name].container for name in ("stays", "tap"))
        agent.ctl("check")
        agent.stop()
        for command in ("check", "gc"):
            assert agent.ctl(command, check=False).returncode == 3, "nobody is there"


def test_codes_are_documented():
    """E7: OPERATIONS.md lists every error code of this project, and every code of the specification that it uses"""
    root = os.getcwd()
    read = lambda path: open(os.path.join(root, path), encoding="utf-8").read()
    codes = set(re.findall(r"k\w+\s*=\s*(\d+)", read("agent/api/attachment_id.h").split("enum class AttachError")[1]
                           .split("};")[0]))
    for header in ("cni/error.h", "agent/base/refusal.h"):
        codes |= set(re.findall(r"kCni\w+ = (\d+);", read(header)))
    assert {"7", "11", "50", "51", "100", "112"} <= codes, codes
    rows = dict(re.findall(r"^\| (\d+) \|[^|]+\|([^|]+)\|$", read("docs/OPERATIONS.md"), re.MULTILINE))
    missing = sorted(code for code in codes if not rows.get(code, "").strip())
    assert not missing, f"codes without a row, or a remedy: {missing}"


def test_del_beside_a_hung_agent():
    """an agent that is stopped costs a DEL seconds, and the DEL counts when it goes on (D1)"""
    with Lab("verbs") as lab:
        node = lab.node("n1")
        agent = node.start_agent()
        network, pod = node.net(VNL), node.pod("pod")
        network.add(pod)
        os.kill(agent.process.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            network.delete(pod)
            took = time.monotonic() - started
        finally:
            os.kill(agent.process.pid, signal.SIGCONT)
        assert took < 8, took
        assert pod.links().keys() == {"lo"} and not node.leases()
        wait_for(lambda: not agent.ports(), 10, "the DEL is carried out")
        network.add(pod)


if __name__ == "__main__":
    runner.main(globals())
