"""Measures addresses that agents assign: the time of an ADD, and whether many ADDs at once ever get one address twice.

  bazel build -c opt //agent:vxvde-agent //agent:vxvdectl //cni:vxvde
  tests/py.sh tests/bench/ipam.py [--rounds N] [--pairs N] [--out FILE]
  tests/py.sh tests/bench/ipam.py --crowd 20 [--pods 50] [--out FILE]

Without --crowd: one node, ADD and DEL in turn, interleaved: with a static address ("ipam": {}, no probe), with an address
of the agent where spare ones exist, and without spare ones (a subnet that is too small for them: three probes).

--crowd R: four nodes with an agent each start --pods pods at once on one /24 that also contains 5 vdens members with
addresses set by hand, R times. The owner of each address is determined on the wire and in the pods' kernels."""

import argparse
import itertools
import statistics
import time

from tests.bench.report import heading, publish, with_out
from tests.lib.addresses import Cloud, add_all, delete_all, expect_no_duplicates
from tests.lib.caller import Caller, enter
from tests.lib.lab import Lab, program

STATIC, SPARE, PROBED = "static address", "spare address", "probed address"


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def measure(rounds, pairs):
    """{way: [milliseconds of each ADD]}"""
    took = {way: [] for way in (STATIC, SPARE, PROBED)}
    with Lab("ipam-add") as lab:
        node = lab.node("n1")
        node.start_agent({"metrics": "", "clouds": [
            {"name": "flat", "vnl": "vxvde://239.1.2.4"},
            {"name": "large", "vnl": "vxvde://239.1.2.5", "subnets": ["198.18.0.0/16"]},
            {"name": "small", "vnl": "vxvde://239.1.2.6", "subnets": ["198.51.100.0/28"]}]})

        def network(cloud, **section):
            return node.network({"cniVersion": "1.0.0", "name": cloud, "plugins": [
                {"type": "vxvde", "cloud": cloud, **section}]})

        networks = {STATIC: network("flat", ipam={}, args={"cni": {"ips": ["198.18.0.7/16"]}}),
                    SPARE: network("large"), PROBED: network("small")}
        for number, one in enumerate((network("flat", ipam={}), networks[SPARE], networks[PROBED])):
            one.add(node.pod(f"keeper{number}"))  # joins the cloud
        pod = node.pod("pod")
        callers = {way: Caller(lab, program("cni/vxvde"), next(one.configs()), name=way.split()[0])
                   for way, one in networks.items()}
        enter(node.path)
        numbers = itertools.count()
        for _ in range(rounds):
            for _ in range(pairs):
                for way, caller in callers.items():
                    container = f"container-{next(numbers)}"
                    took[way].append(caller.time("ADD", container, pod.path))
                    caller.time("DEL", container, pod.path)
    return took


def table(took):
    lines = ["| ADD | p50 ms | p99 ms | p50 beside a static address |", "|---|---|---|---|"]
    base = statistics.median(took[STATIC])
    for way, values in took.items():
        median = statistics.median(values)
        lines.append(f"| {way} | {median:.1f} | {percentile(values, 0.99):.1f} | {median / base:.2f} |")
    return "\n".join(lines) + "\n"


def crowd(rounds, count):
    subnet = "198.51.100.0/24"
    took = []
    with Lab("ipam-crowd") as lab:
        cloud = Cloud(lab, [subnet])
        nodes = [cloud.join(f"n{i}") for i in range(1, 5)]
        members = [cloud.member(nodes[i % 4], f"m{i}", f"198.51.100.{20 + 41 * i}/24") for i in range(5)]
        pods = [node.pod(f"p{i}") for node in nodes for i in range(count)]
        start = time.monotonic()
        for number in range(rounds):
            for pod in pods:
                pod.container = f"{pod.name}-round{number}-{pod.node.name}"
            took += add_all(pods)[0]
            expect_no_duplicates(members[0], subnet, pods, members)
            delete_all(pods)
            print(f"round {number + 1}: {len(pods)} pods, no address twice; ADD so far p50 {percentile(took, .5):.2f} s, "
                  f"p99 {percentile(took, .99):.2f} s", flush=True)
    return (f"4 nodes, {count} pods each at once, 5 members, {rounds} rounds: 0 duplicates of {len(took)} addresses; "
            f"ADD p50 {percentile(took, .5):.2f} s, p99 {percentile(took, .99):.2f} s, largest {max(took):.2f} s, "
            f"in {time.monotonic() - start:.0f} s\n")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--pairs", type=int, default=20, help="of each way, in a round")
    options.add_argument("--crowd", type=int, default=0, metavar="ROUNDS")
    options.add_argument("--pods", type=int, default=50, help="of each node, with --crowd")
    options = with_out(options).parse_args()
    result = crowd(options.crowd, options.pods) if options.crowd else table(measure(options.rounds, options.pairs))
    publish(heading() + result, options.out)


main()
