"""The real driver as podman 5 and netavark call it. Ids such as N1 are requirements in docs/RUNTIMES.md."""

import concurrent.futures
import json
import signal

from tests.lib import runner
from tests.lib.lab import Lab, program
from tests.lib.netavark import DriverError, PodmanNetwork, call, execute
from tests.lib.process import run, wait_for

VNL = "vxvde://239.1.2.3"
SUBNETS = [{"subnet": "198.51.100.0/24"}, {"subnet": "2001:db8:42::/64"}]


def baseline(network, pod, **kwargs):
    network.setup(pod, **kwargs)
    network.teardown(pod)
    wait_for(lambda: not network.node.agent.clouds(), 5, "the cloud is left")
    return network.node.footprint(pod)


def refused(*words):
    """A context in which the driver fails with an error that contains all of `words`."""
    class Refused:
        def __enter__(self):
            return self

        def __exit__(self, kind, error, trace):
            assert kind is not None, f"not refused: {words}"
            if kind is DriverError:
                for word in words:
                    assert word in error.error, f"{word!r} is not named: {error.error}"
            return kind is DriverError
    return Refused()


def test_a_container_meets_a_member():
    """N4: two addresses and the MAC as podman passes them; a real member is reached, and reaches it; then nothing is left"""
    with Lab("netavark") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        member = n2.vdens("member", VNL).join(9)
        network = PodmanNetwork(n1, "blue", options={"vnl": VNL}, subnets=SUBNETS)
        assert network.network["ipv6_enabled"] is True and network.network["dns_enabled"] is False, network.network
        for mode in ("veth", "tap"):
            pod = n1.pod(mode)
            how = {"ips": ["198.51.100.40", "2001:db8:42::40"], "mac": "02:00:5e:10:00:40", "options": {"mode": mode}}
            before = baseline(network, pod, **how)
            status = network.setup(pod, **how)
            assert status == {"mac_address": "02:00:5e:10:00:40",
                              "subnets": [{"ipnet": "198.51.100.40/24"}, {"ipnet": "2001:db8:42::40/64"}]}, status
            assert sorted(pod.links()) == ["eth0", "lo"] and pod.mac("eth0") == "02:00:5e:10:00:40"
            assert pod.addresses("eth0") == ["198.51.100.40/24", "2001:db8:42::40/64"]
            pod.reaches(member.ip4)
            member.reaches("198.51.100.40")
            member.reaches("2001:db8:42::40")
            assert not [r for r in pod.ip_json("route") if r["dst"] == "default"], "nobody named a gateway"
            network.teardown(pod)
            n1.expect_footprint(pod, before, f"teardown, {mode}")


def test_gateways():
    """N6: a default route through a gateway that the user named, after those of bridges; none if internal"""
    with Lab("netavark") as lab:
        n1 = lab.node("n1")
        n1.start_agent()
        pod = n1.pod("pod")
        named = [{"subnet": "198.51.100.0/24", "gateway": "198.51.100.1"}]
        network = PodmanNetwork(n1, "blue", options={"vnl": VNL}, subnets=named)
        how = {"ips": ["198.51.100.40"]}
        status = network.setup(pod, **how)
        assert status["subnets"] == [{"ipnet": "198.51.100.40/24", "gateway": "198.51.100.1"}], status
        routes = [r for r in pod.ip_json("route") if r["dst"] == "default"]
        assert len(routes) == 1 and routes[0]["gateway"] == "198.51.100.1" and routes[0]["metric"] == 200, routes
        network.teardown(pod)
        network.setup(pod, options={"no_default_route": "true"}, **how)
        assert not [r for r in pod.ip_json("route") if r["dst"] == "default"]
        network.teardown(pod)
        internal = PodmanNetwork(n1, "inner", options={"vnl": VNL}, internal=True, subnets=SUBNETS)
        assert "gateway" not in str(internal.setup(pod, **how))
        assert not [r for r in pod.ip_json("route") if r["dst"] == "default"]


def test_create():
    """N3: an error is named, stdout contains only {"error": ...}, and neither agent nor kernel is used"""
    with Lab("netavark") as lab:
        n1 = lab.node("n1")
        good = {"name": "blue", "id": "1234", "driver": "vxvde", "labels": {"a": "b"}, "a later field": 7}
        answer = json.loads(call(n1, ["create"], good))
        assert answer["options"]["vnl"] == "vxvde://" and answer["options"]["mode"] == "veth", answer
        assert {key: answer[key] for key in good} == good, "what is not known is echoed"
        for options, word in (({"colour": "red"}, "colour"), ({"vnl": "vxvde://239.1.2.3/speed=9"}, "speed"),
                              ({"mode": "bridge"}, "bridge"), ({"vnl": VNL, "cloud": "blue"}, "exclude")):
            with refused(word):
                call(n1, ["create"], {**good, "options": options})
        for text in ("", "{", "[]"):
            with refused():
                call(n1, ["create"], text)
        with refused("namespace"):
            call(n1, ["setup"], {})
        info = json.loads(call(n1, ["info"], ""))
        assert info["api_version"] == "1.0.0" and info["version"], info


def test_without_subnets():
    """N6: no subnets, no addresses from podman: layer 2, with a MAC; addresses of the agent where the cloud has subnets"""
    with Lab("netavark") as lab:
        n1 = lab.node("n1")
        n1.start_agent({"clouds": [{"name": "routed", "vnl": "vxvde://239.1.2.4", "subnets": ["203.0.113.0/24"]}]})
        pod = n1.pod("pod")
        network = PodmanNetwork(n1, "blue", options={"vnl": VNL})
        status = network.setup(pod)
        assert status["subnets"] == [] and status["mac_address"] == pod.mac("eth0"), status
        network.teardown(pod)
        routed = PodmanNetwork(n1, "routed", options={"cloud": "routed"})
        status = routed.setup(pod)
        assert [subnet["ipnet"] for subnet in status["subnets"]] == pod.addresses("eth0"), status
        assert pod.addresses("eth0")[0].startswith("203.0.113."), pod.addresses("eth0")
        routed.teardown(pod)
        flat = PodmanNetwork(n1, "flat", options={"cloud": "routed"}, ipam_options={"driver": "none"}).setup(pod)
        assert flat["subnets"] == [] and pod.addresses("eth0") == [], flat


def test_a_failed_setup_leaves_nothing():
    """N6: no teardown follows, so each refusal undoes everything: bad values, addresses in use, foreign interfaces, ports"""
    with Lab("netavark") as lab:
        n1 = lab.node("n1")
        n1.start_agent()
        one, two = n1.pod("one"), n1.pod("two")
        network = PodmanNetwork(n1, "blue", options={"vnl": VNL}, subnets=SUBNETS)
        baseline(network, one, ips=["198.51.100.40"])
        network.setup(one, ips=["198.51.100.40"], mac="02:00:5e:10:00:40")
        before = n1.footprint(two)

        def fails(*words, **kwargs):
            with refused(*words):
                network.setup(two, **kwargs)
            n1.expect_footprint(two, before, f"a failed setup is undone: {words}")

        fails("198.51.100.40", one.container, ips=["198.51.100.40"])
        fails("02:00:5e:10:00:40", ips=["198.51.100.41"], mac="02:00:5e:10:00:40")
        fails("203.0.113.1", ips=["203.0.113.1"])
        fails("static_ips")
        fails("\"foo\" is unknown", ips=["198.51.100.41"], options={"foo": "bar"})
        fails("mtu", ips=["198.51.100.41"], options={"mtu": "big"})
        ports = [{"container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 1}]
        fails("8080:80/tcp", ips=["198.51.100.41"], ports=ports, options={"ports": "refuse"})
        fails("icmp", ips=["198.51.100.41"], ports=[{**ports[0], "protocol": "icmp"}])
        two.ip("link", "add", "eth0", "type", "bridge")
        before = n1.footprint(two)
        fails("eth0", ips=["198.51.100.41"])
        assert two.links()["eth0"]["linkinfo"]["info_kind"] == "bridge", "left alone"
        two.ip("link", "del", "eth0")
        network.setup(two, ips=["198.51.100.41"], ports=ports, options={"ports": "ignore"})
        two.reaches("198.51.100.40")
        n1.agent.stop()
        with refused(n1.agent.socket):
            network.setup(n1.pod("three"), ips=["198.51.100.42"])


def test_teardown_in_every_condition():
    """N5: without setup, twice, namespace gone, interface gone, invalid input elsewhere, no agent: no output, and nothing
    remains"""
    with Lab("netavark") as lab:
        n1 = lab.node("n1")
        n1.start_agent()
        network = PodmanNetwork(n1, "blue", options={"vnl": VNL}, subnets=SUBNETS)
        how = {"ips": ["198.51.100.40", "2001:db8:42::40"]}
        for mode in ("veth", "tap"):
            how["options"] = {"mode": mode}
            pod = n1.pod(mode)
            network.teardown(pod)
            before = baseline(network, pod, **how)
            network.setup(pod, **how)
            network.teardown(pod)
            network.teardown(pod)
            n1.expect_footprint(pod, before, "twice")

            network.setup(pod, **how)
            pod.ip("link", "del", "eth0")
            network.teardown(pod)
            n1.expect_footprint(pod, before, "interface gone")

            network.setup(pod, **how)
            network.teardown(pod, ips=["x"], mac="y", ports=7, options={"colour": "red"})
            n1.expect_footprint(pod, before, "nonsense in the rest")

            gone = n1.pod(f"{mode}-gone")
            network.setup(gone, **how)
            gone.remove_netns()
            network.teardown(gone)
            n1.expect_footprint(pod, before, "namespace gone")

            network.setup(pod, **how)
            n1.agent.stop()
            network.teardown(pod)
            network.teardown(pod)
            assert pod.links().keys() == {"lo"}
            n1.agent.start()
            n1.expect_footprint(pod, before, "agent down")


def test_setup_again():
    """N7: reload in a live namespace; after a reboot: no teardown, no namespace, the agent's record stale or fresh"""
    with Lab("netavark") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        member = n2.vdens("member", VNL).join(9)
        network = PodmanNetwork(n1, "blue", options={"vnl": VNL}, subnets=SUBNETS)
        for mode in ("veth", "tap"):
            how = {"ips": ["198.51.100.40", "2001:db8:42::40"], "mac": "02:00:5e:10:00:40", "options": {"mode": mode}}
            pod = n1.pod(mode)
            first = network.setup(pod, **how)
            pod.reaches(member.ip4)
            for what in ("teardown", "live", "namespace gone", "agent restarted", "both"):  # "live": no teardown at all
                if what == "teardown":
                    network.teardown(pod, **how)
                if what in ("namespace gone", "both"):
                    pod.remove_netns()
                if what in ("agent restarted", "both"):
                    n1.agent.stop()
                    n1.agent.start()
                if what in ("namespace gone", "both"):
                    run(["ip", "netns", "add", pod.path.rsplit("/", 1)[1]])
                assert network.setup(pod, **how) == first, what
                pod.reaches(member.ip4)
                member.reaches("2001:db8:42::40")
                assert len(n1.agent.ports()) == 1, (what, n1.agent.ports())
            network.teardown(pod, **how)
            wait_for(lambda: not n1.agent.ports(), 5, f"nothing is left, {mode}")


def test_killed_at_every_step():
    """kill -9 of setup at every step: teardown leaves nothing, and a second setup without one works"""
    with Lab("netavark") as lab:
        n1 = lab.node("n1")
        n1.start_agent()
        network = PodmanNetwork(n1, "blue", options={"vnl": VNL}, subnets=SUBNETS)
        for mode in ("veth", "tap"):
            how = {"ips": ["198.51.100.40", "2001:db8:42::40"], "options": {"mode": mode}}
            pod = n1.pod(mode)
            before = baseline(network, pod, **how)
            for step in range(1, 2000):
                done = execute(n1, ["setup", pod.path], network.document(pod, **how),
                               prefix=[program("tests/fault_at"), "kill", step])
                if done.returncode != -signal.SIGKILL:
                    break
                if step % 2:
                    network.setup(pod, **how)
                network.teardown(pod, **how)
                n1.expect_footprint(pod, before, f"{mode}: {done.stderr.strip()}")
            assert done.returncode == 0 and step > 20, (step, done)
            network.teardown(pod, **how)
            n1.expect_footprint(pod, before, f"{mode}: what survived")


def test_many_at_once():
    """containers set up and torn down concurrently: each has a MAC of its own, all reach each other, nothing is left"""
    count = 24
    with Lab("netavark") as lab:
        n1 = lab.node("n1")
        n1.start_agent()
        network = PodmanNetwork(n1, "blue", options={"vnl": VNL}, subnets=SUBNETS)
        pods = [n1.pod(f"p{i}") for i in range(count)]
        before = baseline(network, pods[0], ips=["198.51.100.64"])
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            states = list(pool.map(lambda i: network.setup(pods[i], ips=[f"198.51.100.{64 + i}"]), range(count)))
            assert len({state["mac_address"] for state in states}) == count == len(n1.agent.ports()), states
            for i in range(1, count):
                pods[i].reaches("198.51.100.64")
            list(pool.map(network.teardown, pods))
        n1.expect_footprint(pods[0], before, "all are torn down")


def test_both_families_of_a_port():
    """-p 0.0.0.0:8080:80 -p [::]:8080:80, the first of which podman passes on without an address; and without IPv6"""
    with Lab("nv") as lab:
        node = lab.node("n1")
        node.start_agent()
        network = PodmanNetwork(node, "blue", options={"vnl": "vxvde://239.7.7.7"},
                                subnets=[{"subnet": "198.51.100.0/24"}])
        pod = node.pod("p1")
        ports = [{"host_ip": address, "host_port": 8080, "container_port": 80, "protocol": "tcp", "range": 1}
                 for address in ("", "::")]
        network.setup(pod, ips=["198.51.100.5"], ports=ports)
        assert "8080 : 198.51.100.5 . 80" in node.run("nft", "list", "table", "inet", "vxvde").stdout
        for port, container_port in zip(ports, (80, 81)):
            port.update(host_port=8081, container_port=container_port)
        with refused("8081", "twice"):
            network.setup(node.pod("p2"), ips=["198.51.100.6"], ports=ports)


def test_connect_and_disconnect():
    """N7: another network for a running container, twice; the first one is not disturbed; killed agents restore all of them"""
    with Lab("netavark") as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        n1.start_agent()
        blue = PodmanNetwork(n1, "blue", options={"vnl": VNL}, subnets=SUBNETS)
        green = PodmanNetwork(n1, "green", options={"vnl": "vxvde://239.1.2.4"}, subnets=[{"subnet": "203.0.113.0/24"}])
        member = n2.vdens("member", VNL).join(9)
        other = n2.vdens("other", "vxvde://239.1.2.4")
        other.address("vde0", "203.0.113.9/24")
        pod = n1.pod("pod")
        blue.setup(pod, ips=["198.51.100.40"])
        pod.reaches(member.ip4)
        for _ in range(2):
            green.setup(pod, "eth1", ips=["203.0.113.40"])
            pod.reaches("203.0.113.9")
            pod.reaches(member.ip4)
            green.teardown(pod, "eth1")
            assert sorted(pod.links()) == ["eth0", "lo"]
            pod.reaches(member.ip4)
        green.setup(pod, "eth1", ips=["203.0.113.40"])
        blue.teardown(pod)
        pod.reaches("203.0.113.9")
        n1.agent.stop(sig=9)
        n1.agent.start()
        pod.reaches("203.0.113.9")
        records = [name for name in n1.agent.files() if name.startswith("attachments/")]
        assert len(records) == 1, records
        assert [port["attachment"]["caller"] for port in n1.agent.ports()] == ["netavark"]
        with open(f"{n1.agent.run_dir}/{records[0]}", encoding="utf-8") as f:
            assert json.load(f)["caller"] == "netavark", "no garbage collection of CNI's takes it"


if __name__ == "__main__":
    runner.main(globals())
