"""Compares ADD and DEL with Debian's bridge plugin with host-local: from exec to exit, interleaved in one run.
A part of run.sh. By itself:

  bazel build -c opt //agent:vxvde-agent //agent:vxvdectl //cni:vxvde
  tests/py.sh tests/bench/add.py [--rounds N] [--pairs N] [--out FILE]

The vxvde plugin runs as layer 2 only ("ipam": {}), in a cloud that the node has joined. A round is some pairs of ADD and
DEL of each plugin, in turn. Figures are medians over all pairs, ratios are those of the medians of each round, with
(min-max). The caller is posix_spawn, whose cost does not depend on the size of the caller."""

import argparse
import itertools
import statistics

from tests.bench.report import heading, publish, with_out
from tests.lib.caller import Caller, enter
from tests.lib.lab import CNI_PLUGINS, Lab, program

VNL = "vxvde://239.1.2.3"
OURS, BRIDGE = "vxvde, layer 2", "bridge + host-local"
COMMANDS = ("ADD", "DEL")


def measure(rounds, pairs):
    """{plugin: {command: [[milliseconds of each call] of each round]}}"""
    figures = {path: {command: [] for command in COMMANDS} for path in (OURS, BRIDGE)}
    with Lab("add") as lab:
        node = lab.node("n1")
        node.start_agent()
        keeper, pod = node.pod("keeper"), node.pod("pod")
        ours = node.net(VNL, ipam={})
        ours.add(keeper)  # joins the cloud
        bridge = {"cniVersion": "1.0.0", "name": "bridged", "type": "bridge", "bridge": "cni0", "isGateway": True,
                  "ipam": {"type": "host-local", "dataDir": lab.file("leases"),
                           "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}}
        callers = {OURS: Caller(lab, program("cni/vxvde"), next(ours.configs())),
                   BRIDGE: Caller(lab, f"{CNI_PLUGINS}/bridge", bridge)}
        enter(node.path)
        numbers = itertools.count()
        for _ in range(rounds):
            for row in figures.values():
                for calls in row.values():
                    calls.append([])
            for _ in range(pairs):
                for path, caller in callers.items():
                    container = f"container-{next(numbers)}"
                    for command in COMMANDS:
                        figures[path][command][-1].append(caller.time(command, container, pod.path))
    return figures


def ratios(figures):
    """{command: [ratio of the medians of each round]}"""
    return {c: [statistics.median(a) / statistics.median(b) for a, b in zip(figures[OURS][c], figures[BRIDGE][c])]
            for c in COMMANDS}


def table(figures):
    def cell(values):
        return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"

    lines = ["| | " + " | ".join(f"{command} p50 ms" for command in COMMANDS) + " |", "|---|" + "---|" * len(COMMANDS)]
    medians = {path: {c: [statistics.median(r) for r in row[c]] for c in COMMANDS} for path, row in figures.items()}
    for path, row in medians.items():
        lines.append(f"| {path} | " + " | ".join(cell(row[c]) for c in COMMANDS) + " |")
    lines.append("| ratio | " + " | ".join(cell(values) for values in ratios(figures).values()) + " |")
    return "\n".join(lines) + "\n"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--pairs", type=int, default=20, help="of each plugin, in a round")
    options = with_out(options).parse_args()
    publish(f"{heading()}{options.rounds} x {options.pairs} pairs\n\n{table(measure(options.rounds, options.pairs))}", options.out)


if __name__ == "__main__":
    main()
