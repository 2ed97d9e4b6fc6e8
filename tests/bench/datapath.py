"""Compares the datapath with the alternatives that it must surpass: all promises about speed, in one run of less than ten
minutes.

  bash tests/bench/run.sh [--quick] [--out FILE]                     everything
  bash tests/bench/run.sh --paths kernel,vxlan --columns tcp1,rr     a part of it, for tuning
       [--fabric A,W] [--mtu 1500,9000] [--rounds N] [--seconds S] [--plain-bridges]

The fabric is one veth pair. On fabric A super-frames cross it whole, as between virtual machines of one host; W has
uplinks without offloads (every datagram at most the MTU; GRO on receive), as a simple NIC has. The pods' MTU is the
fabric's less 50. paths.py describes the paths, measures.py the columns. A round measures each column on all paths, one
path after the other; a ratio compares two figures of one round. Tables show medians with (min-max). TCP is cubic.
Where the kernel has br_netfilter, Linux bridges pass their frames to iptables, as on most machines with containers;
--plain-bridges compares with bridges that do not. A wrong checksum on a path of vxvde ends the run with an error."""

import argparse
import concurrent.futures
import contextlib
import json
import statistics
import sys
import time

from tests.bench import add
from tests.bench.measures import COLUMNS, FIGURES
from tests.bench.paths import (BEDS, OURS, PATHS, REFERENCE, datapaths, iptables_in_bridges, settle,
                               without_iptables)
from tests.bench.report import heading, publish, with_out
from tests.lib.lab import Lab, program
from tests.lib.process import run

LOCAL = ["local-bridge", "local-kernel", "local-user"]
# (fabric, MTU): {column: paths} of a full run.
PLAN = {
    ("A", 1500): {
        "tcp1": ["direct", "routed", "vxlan", "kernel", "user", "plug", "foreign-in", "foreign-out", "vxlan-tap",
                 "tap"],
        "tcp4": ["direct", "routed", "vxlan", "kernel", "user", "plug", *LOCAL],
        "pps": ["direct", "routed", "vxlan", "kernel", "user", "plug", "foreign-in", "foreign-out", *LOCAL],
        "bum": ["vxlan", "kernel", "user", "plug"],
        "rr": ["direct", "routed", "vxlan", "kernel", "user", "plug", "vxlan-tap", "tap", *LOCAL]},
    ("W", 1500): {"tcp1": ["direct", "vxlan", "kernel", "user", "plug"], "tcp4": ["vxlan", "kernel", "user"]},
    ("A", 9000): {"tcp1": ["direct", "vxlan", "kernel", "user"], "tcp4": ["vxlan", "kernel", "user"]},
    ("W", 9000): {"tcp1": ["direct", "vxlan", "kernel", "user"]},
}
# (Ratio, scene, figure, path, other path, minimum, goal).
A, W = ("A", 1500), ("W", 1500)
TARGETS = [
    ("TCP x1, kernel tier / kernel VXLAN, A", A, "tcp1", "kernel", "vxlan", 1.15, 1.4),
    ("TCP x1, kernel tier / kernel VXLAN, W", W, "tcp1", "kernel", "vxlan", 1.0, 1.2),
    ("CPU per GB, kernel tier / kernel VXLAN, A", A, "cpu", "kernel", "vxlan", 0.85, 0.7),
    ("CPU per GB, kernel tier / kernel VXLAN, W", W, "cpu", "kernel", "vxlan", 1.0, 0.85),
    ("64 B pps, kernel tier / kernel VXLAN, A", A, "pps", "kernel", "vxlan", 1.5, 2.0),
    ("UDP_RR p50, kernel tier / kernel VXLAN, A", A, "udp50", "kernel", "vxlan", 0.95, 0.8),
    ("same node: pps, kernel tier / Linux bridge", A, "pps", "local-kernel", "local-bridge", 1.2, 1.4),
    ("same node: TCP x4, kernel tier / Linux bridge", A, "tcp4", "local-kernel", "local-bridge", 1.1, 1.4),
    ("TCP x1, kernel tier / vde_plug, A", A, "tcp1", "kernel", "plug", 25, 30),
    ("TCP x1, user tier / vde_plug, A", A, "tcp1", "user", "plug", 12, 20),
    ("64 B pps, user tier / kernel VXLAN, A", A, "pps", "user", "vxlan", 2.5, 4),
    ("TCP x1, vde_plug -> pod / vde_plug -> vde_plug, A", A, "tcp1", "foreign-in", "plug", 0.95, 1.2),
    ("TCP x1, pod -> vde_plug / vde_plug -> vde_plug, A", A, "tcp1", "foreign-out", "plug", 0.95, 1.2),
    ("TCP x1, tap pod, kernel tier / kernel VXLAN with a tap, A", A, "tcp1", "tap", "vxlan-tap", 1.0, 1.3),
]
ADD_TARGETS = {"ADD": (0.35, 0.2), "DEL": (0.25, 0.1)}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Scene:
    """One fabric with one MTU: `figures[path][figure]` has a value for each round."""

    def __init__(self, fabric, mtu, plan, plain_bridges):
        self.fabric, self.mtu, self.plan, self.plain_bridges = fabric, mtu, plan, plain_bridges
        self.name = f"{fabric} {mtu}"
        self.paths = [path for path in PATHS if any(path in paths for paths in plan.values())]
        self.figures = {path: {} for path in self.paths}
        self.said = {}  # {path: [(node, *datapaths())]}, as the agents report at the end

    def measure(self, rounds, seconds):
        with contextlib.ExitStack() as beds:
            ends, nodes = {}, {}
            for build, paths in BEDS.items():
                if any(path in self.paths for path in paths):
                    lab = beds.enter_context(Lab(f"b{paths[0]}", mtu=self.mtu, offloads=self.fabric == "A"))
                    pair = lab.cable("n1", "n2")
                    for node in pair if self.plain_bridges else []:
                        without_iptables(node)
                    made = build(lab, *pair)
                    ends.update(made)
                    nodes.update((path, pair) for path in made)
            for path in self.paths:
                a, b = ends[path]
                a.reaches(b.ip4)
            agents = {path: [node.agent for node in nodes[path] if node.agent is not None] for path in self.paths}
            for path in self.paths:
                settle(agents[path])
            for number in range(rounds):
                start = time.monotonic()
                self._round(ends, seconds, backwards=number % 2 == 1)
                say(f"{self.name}: round {number + 1} of {rounds}, {time.monotonic() - start:.0f} s")
            self.said = {path: [(agent.node.name, *datapaths(agent)) for agent in agents[path]] for path in self.paths}
            for path in self.paths:
                for end in (*ends[path], *nodes[path]):
                    errors = end.csum_errors()
                    assert path not in OURS or not errors, f"fabric {self.name}, path {path}: {end} counts {errors}"
                    if errors:
                        say(f"{self.name}: {path}: {end} counts {errors}")

    def _round(self, ends, seconds, backwards):
        """`backwards`: a machine that becomes slower or faster in the meantime thus favours no path."""
        for column, paths in self.plan.items():
            for path in sorted(paths, key=PATHS.index, reverse=backwards):
                for figure, value in COLUMNS[column](*ends[path], seconds).items():
                    self.figures[path].setdefault(figure, []).append(value)

    def ratios(self, figure, path, other):
        """The ratio of each round; [] if either figure was not measured."""
        return [a / b for a, b in zip(self.figures.get(path, {}).get(figure, []),
                                      self.figures.get(other, {}).get(figure, []))]

    def tables(self):
        shown = [figure for figure in FIGURES if any(figure in row for row in self.figures.values())]
        out = [f"### Fabric {self.fabric}, MTU {self.mtu}\n", row("path", *(FIGURES[figure][0] for figure in shown)),
               ruler(1 + len(shown))]
        out += [row(path, *(cell(values.get(figure, [])) for figure in shown))
                for path, values in self.figures.items()]
        ratios = [(path, REFERENCE[path]) for path in self.paths if REFERENCE.get(path) in self.paths]
        if ratios:
            out += ["", row("ratio", *(FIGURES[figure][0] for figure in shown)), ruler(1 + len(shown))]
            out += [row(f"{path} / {other}", *(cell(self.ratios(figure, path, other)) for figure in shown))
                    for path, other in ratios]
        return "\n".join(out) + "\n"


def row(*cells):
    return f"| {' | '.join(cells)} |"


def ruler(columns):
    return "|" + "---|" * columns


def cell(values):
    if not values:
        return "-"
    digits = 1 if statistics.median(values) >= 100 else 2
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def target(metric, ratios, must, goal, more_is_better):
    median = statistics.median(ratios)

    def reached(value):
        return median >= value if more_is_better else median <= value

    verdict = "goal reached" if reached(goal) else "reached" if reached(must) else "**not reached**"
    return row(metric, cell(ratios), str(must), str(goal), verdict)


def targets(scenes, add_ratios):
    """The rows of the ratios that were measured."""
    out = ["### What is to be reached\n", row("ratio", "measured", "must", "goal", ""), ruler(5)]
    for metric, scene, figure, path, other, must, goal in TARGETS:
        ratios = scenes[scene].ratios(figure, path, other) if scene in scenes else []
        if ratios:
            out.append(target(metric, ratios, must, goal, FIGURES[figure][1]))
    for command, ratios in add_ratios.items():
        out.append(target(f"{command} p50, layer 2 / bridge + host-local", ratios, *ADD_TARGETS[command], False))
    if any("user" in f"{cloud} {ports}" for scene in scenes.values() for path in ("kernel", "local-kernel")
           for _, cloud, ports, _, _ in scene.said.get(path, [])):
        out += ["", "**The kernel tier was not everywhere where it should be**: see what the agents said."]
    return "\n".join(out) + "\n"


def core():
    """The benchmarks of the pure rooms, in nanoseconds."""
    done = run([program("tests/bench/core_bench"), "--benchmark_format=json", "--benchmark_min_time=0.1",
                "--benchmark_filter=Fdb|Forward"], timeout=60)
    out = ["### One frame in the switch's pure rooms\n", row("what/stations", "ns"), ruler(2)]
    out += [row(one["name"], f"{one['cpu_time']:.0f}") for one in json.loads(done.stdout)["benchmarks"]]
    return "\n".join(out) + "\n"


def parse():
    def words(of):
        def read(text):
            unknown = [word for word in text.split(",") if word not in of]
            if unknown:
                raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(of)}")
            return text.split(",")
        return read

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true",
                         help="what is to be reached alone, 3 rounds: under two minutes")
    options.add_argument("--rounds", type=int, help="default 5")
    options.add_argument("--seconds", type=int, default=1, help="of each turn")
    options.add_argument("--paths", type=words(PATHS))
    options.add_argument("--columns", type=words(COLUMNS))
    options.add_argument("--fabric", type=words(["A", "W"]))
    options.add_argument("--mtu", type=words(["1500", "9000"]))
    options.add_argument("--plain-bridges", action="store_true", help="Linux bridges without br_netfilter")
    options = with_out(options).parse_args()
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.all = not (options.paths or options.columns or options.fabric or options.mtu)
    return options


def scenes_of(options):
    """{(fabric, MTU): Scene}"""
    if options.quick and options.all:
        plan = {}
        for _, scene, figure, path, other, _, _ in TARGETS:
            column = {"cpu": "tcp1", "udp50": "rr"}.get(figure, figure)
            plan.setdefault(scene, {}).setdefault(column, set()).update((path, other))
    elif options.all:
        plan = PLAN
    else:
        def able(column):
            paths = options.paths or PLAN["A", 1500][column]
            return [path for path in paths if column != "bum" or path not in ("direct", "routed")]  # no overlay

        plan = {(fabric, int(mtu)): {column: able(column) for column in options.columns or COLUMNS}
                for fabric in options.fabric or ["A"] for mtu in options.mtu or ["1500"]}
    return {scene: Scene(*scene, columns, options.plain_bridges) for scene, columns in plan.items()}


def main():
    options = parse()
    start = time.monotonic()
    scenes = scenes_of(options)
    for scene in scenes.values():
        scene.measure(options.rounds, options.seconds)
    parts, add_ratios = [scene.tables() for scene in scenes.values()], {}
    if options.all:
        # Measuring enters a namespace for good, so it has a process of its own.
        with concurrent.futures.ProcessPoolExecutor(1) as other:
            figures = other.submit(add.measure, options.rounds, 10 if options.quick else 20).result()
        parts += [f"### ADD and DEL\n\n{add.table(figures)}", core()]
        add_ratios = add.ratios(figures)
    said = [row(scene.name, path, *words)
            for scene in scenes.values() for path, said in scene.said.items() for words in said]
    bridges = "with" if iptables_in_bridges() and not options.plain_bridges else "without"
    text = "\n".join([f"{heading()}{options.rounds} rounds, turns of {options.seconds} s; "
                      f"Linux bridges {bridges} br_netfilter\n",
                      targets(scenes, add_ratios), *parts,
                      "### What our agents said of their datapath, at the end\n",
                      row("fabric", "path", "node", "cloud", "ports", "peers", ""), ruler(7), *said, ""])
    publish(text, options.out)
    say(f"took {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
