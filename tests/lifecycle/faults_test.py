"""Every system call of attach, detach, restart and reload fails once, with an errno and by kill -9. Afterwards the operation
has succeeded or has given a reason, the next one succeeds, nothing is left, and other pods have lost no echo.

A walk is one operation with faults of one kind; lib/fault_at.cc numbers its steps, and documents the exceptions with
reasons. A run takes a few steps of one walk of each test, chosen by a seed that it prints. By hand, after
`bazel build //cni:vxvde //agent:all //tests:fault_at`, as root:

  tests/py.sh tests/lifecycle/faults_test.py --all [test...]                    each step of each walk: about two hours
  tests/py.sh tests/lifecycle/faults_test.py --seed SEED                        the same steps again
  tests/py.sh tests/lifecycle/faults_test.py --walk "attach, plugin, error" --steps 17,30-40 test_attach

With VXVDE_TEST_DATAPATH=user the agents forward all frames.
"""

import argparse
import random
import signal
import sys
import time
import traceback

from tests.lib import runner
from tests.lib.faults import CONFIG, OTHER_CONFIG, Lost, Scene, error_of, waits
from tests.lib.lab import DATAPATH, Lab, program
from tests.lib.process import wait_for

KILLED = -signal.SIGKILL
SAMPLE = 3  # steps of one walk of each test
OPTIONS = argparse.Namespace(all=False, seed=int(time.time()), walk="", steps="")


def fault(how, step, *more):
    return [program("tests/fault_at"), how, step, *more]


def said(text):
    """The report of fault_at about its action."""
    return next((line for line in reversed(text.splitlines()) if line.startswith("fault_at: ")), "fault_at said nothing")


def survived(report):
    return "survived" in report


# ---- faults in the CNI plugin: each function takes one step of its walk and returns the report of fault_at


def attach_in_plugin(how):
    def step(scene, number):
        done = scene.cni("ADD", prefix=fault(how, number))
        report = said(done.stderr)
        if done.returncode == 0:
            with about(report):
                scene.expect_attached()
        elif how == "error":
            with about(report):
                error_of(done)
                # A failed operation has undone itself.
                scene.expect_before()
        else:
            assert done.returncode == KILLED, f"{report}: exit {done.returncode}"
        return report
    return step


def detach_in_plugin(how):
    def step(scene, number):
        scene.network.add(scene.subject)
        done = scene.cni("DEL", prefix=fault(how, number))
        report = said(done.stderr)
        with about(report):
            if done.returncode == 0:
                scene.expect_before()
            elif how == "error":
                error_of(done)
            else:
                assert done.returncode == KILLED, f"exit {done.returncode}"
        return report
    return step


# ---- faults in a running agent


class InAgent:
    """During the block the agent's calls are counted; then `report` contains the output of fault_at."""

    def __init__(self, scene, how, number):
        self.report = None
        self._scene = scene
        self._tracer = scene.node.start("fault", *fault(how, number, "--pid", scene.agent.process.pid))
        self._tracer.says("ready")

    def __enter__(self):
        return self

    def is_over(self):
        """The fault has occurred, or the agent has ended."""
        return not self._tracer.alive

    def __exit__(self, *_):
        self._tracer.stop()
        self.report = said(self._tracer.output())


def again(scene, how, report):
    """Ensures that the agent runs: it has survived an errno, or is started after kill -9."""
    if how == "kill" and not survived(report):
        wait_for(lambda: not scene.agent.process.alive, 10, "the agent is killed")
        scene.agent.start()
    assert scene.agent.process.alive, f"the agent has ended: {scene.agent.process.returncode}"


def attach_in_agent(how):
    def step(scene, number):
        with InAgent(scene, how, number) as agent:
            done = scene.cni("ADD")
            if done.returncode == 0:
                scene.becomes_fast()
        with about(agent.report):
            if done.returncode != 0:
                error_of(done)
            again(scene, how, agent.report)
            if done.returncode == 0:
                scene.expect_attached()
            elif how != "kill":  # a record may wait for DEL there
                scene.expect_before()
        return agent.report
    return step


def detach_in_agent(how):
    def step(scene, number):
        scene.network.add(scene.subject)
        scene.becomes_fast()
        with InAgent(scene, how, number) as agent:
            done = scene.cni("DEL")
            # Its other threads close the port a moment later.
            wait_for(lambda: agent.is_over() or scene.is_closed(), 10, "the port is closed, or the fault has happened")
        with about(agent.report):
            if done.returncode != 0:
                error_of(done)
            again(scene, how, agent.report)
            if done.returncode == 0:
                scene.expect_before()
        return agent.report
    return step


def reload_in_agent(how):
    def step(scene, number):
        with InAgent(scene, how, number) as agent:
            scene.reload(OTHER_CONFIG)
            scene.gateway_comes()
        with about(agent.report):
            again(scene, how, agent.report)
            scene.reload(CONFIG)
        return agent.report
    return step


# ---- faults in an agent that starts or ends


def start_agent(how):
    def step(scene, number):
        scene.network.add(scene.subject)
        scene.agent.stop()
        try:
            scene.agent.start(prefix=fault(how, number, "--from", scene.agent.config_file))
            ready, threads = True, None
        except AssertionError:
            ready, threads = False, waits(scene.agent.process.pid)
        report = scene.let_go()
        assert ready or not survived(report), f"nothing was done to it, and it is not ready: {threads}"
        if ready and how == "kill" and not survived(report):
            # Right after it was ready, when it reads everything that waited for it.
            ready, scene.in_hand = False, BACKLOG
        with about(report):
            if not ready:
                code = scene.agent.process.wait(10)
                if how == "kill":
                    assert code == KILLED, code
                else:
                    words = [line for line in scene.agent.process.output().splitlines() if not line.startswith("fault_at:")]
                    # gRPC aborts if it lacks a resource. That is equivalent to kill -9, and is reported.
                    assert code in (1, -signal.SIGABRT) and words, f"exit {code}: {words}"
                scene.agent.start()
            scene.expect_attached()
            scene.network.delete(scene.subject)
            # An agent that started without a feature because of the fault does without it for its whole life.
            scene.restart()
        return report
    return step


def stop_agent(how):
    def step(scene, number):
        scene.network.add(scene.subject)
        with InAgent(scene, how, number) as agent:
            code = scene.agent.stop()
        with about(agent.report):
            assert code in (0, KILLED if how == "kill" else 1), f"exit {code}"
            scene.agent.start()
            scene.expect_attached()
        return agent.report
    return step


# ---- the walks


class about:
    """An AssertionError of the block names the fault."""

    def __init__(self, report):
        self._report = report

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, AssertionError) and not str(error).startswith("fault_at"):
            raise (Lost if isinstance(error, Lost) else AssertionError)(f"{self._report}: {error}") from error


def do(scene, step, number, tolerated=0):
    """One step, then all conditions. Returns the report of fault_at."""
    scene.in_hand = tolerated
    report = step(scene, number)
    with about(report):
        # A runtime does this after an error as well as after a success.
        scene.network.delete(scene.subject)
        scene.expect_before()
        # The next operation of its kind; if that left anything, the checks of the next step find it.
        scene.network.add(scene.subject)
        scene.network.delete(scene.subject)
        scene.expect_traffic(scene.in_hand)
    return report


def numbers(name, total):
    """The chosen steps of a walk of `total`."""
    if OPTIONS.steps:
        for part in OPTIONS.steps.split(","):
            first, _, last = part.partition("-")
            yield from range(int(first), int(last or first) + 1)
    elif OPTIONS.all:
        # Slightly more, because the number of steps varies.
        yield from range(1, total + total // 10 + 3)
    else:
        chance = random.Random(f"{OPTIONS.seed} {name}")
        for part in range(SAMPLE):
            yield 1 + total * part // SAMPLE + chance.randrange(max(1, total // SAMPLE))


def walk(mode, operations):
    """`operations`: {name: (step function, echoes that may be lost)}."""
    chosen = {f"{mode}, {name}": operation for name, operation in operations.items()}
    if OPTIONS.walk:
        chosen = {name: operation for name, operation in chosen.items() if OPTIONS.walk in name}
    elif not OPTIONS.all:
        name = random.Random(f"{OPTIONS.seed} {mode} {list(operations)}").choice(list(chosen))
        chosen = {name: chosen[name]}
    if not OPTIONS.all:
        print(f"  --seed {OPTIONS.seed}", flush=True)
    todo = [(name, step, tolerated, None) for name, (step, tolerated) in chosen.items()]
    failures = []
    while todo:
        # Each failure gets a new scene for the following steps.
        try:
            with Lab("faults") as lab:
                scene = Scene(lab, mode)
                while todo:
                    name, step, tolerated, left = todo[0]
                    if left is None:
                        report = do(scene, step, 0, tolerated)
                        assert survived(report), report
                        total = int(report.split()[2])
                        left = list(numbers(name, total))
                        print(f"  {name}: {total} steps", flush=True)
                        todo[0] = (name, step, tolerated, left)
                    while left:
                        number = left.pop(0)
                        try:
                            report = do(scene, step, number, tolerated)
                        except Lost as error:
                            # A machine that other programs overload loses frames too: a loss counts if it happens
                            # again.
                            print(f"    {name}: {error}; once more", flush=True)
                            report = do(scene, step, number, tolerated)
                        if OPTIONS.all or OPTIONS.steps:
                            print(f"    {name}: {report}", flush=True)
                    todo.pop(0)
        except AssertionError as error:
            if not todo:
                raise
            name, step, tolerated, left = todo[0]
            if left is None:
                traceback.print_exc(file=sys.stdout)
                todo.pop(0)
            failures.append(f"{name}: {error}")
            print(f"  FAILED {failures[-1]}", flush=True)
    assert not failures, "\n".join(["", *failures])


def modes():
    """The kinds of links; a sample uses one of them."""
    everything = ["veth", "tap"]
    return everything if OPTIONS.all or OPTIONS.walk else [random.Random(f"{OPTIONS.seed} mode").choice(everything)]


# The frames of a stream of one frame each 10 ms that one call reads or writes on a slow machine.
BATCH = 5
# In the user datapath a killed agent holds a batch (docs/decisions/0014).
IN_HAND = BATCH if DATAPATH == "user" else 0
BACKLOG = 20 if DATAPATH == "user" else 0


def test_attach():
    """ADD, veth"""
    walk("veth", {"attach, plugin, error": (attach_in_plugin("error"), 0),
                  "attach, agent, error": (attach_in_agent("error"), 0),
                  "attach, agent, frame": (attach_in_agent("frame"), BATCH),
                  "attach, agent, kill": (attach_in_agent("kill"), IN_HAND)})


def test_attach_tap():
    """ADD, tap"""
    walk("tap", {"attach, plugin, error": (attach_in_plugin("error"), 0),
                 "attach, agent, error": (attach_in_agent("error"), 0),
                 "attach, agent, frame": (attach_in_agent("frame"), BATCH),
                 "attach, agent, kill": (attach_in_agent("kill"), IN_HAND)})


def test_detach():
    """DEL"""
    for mode in modes():
        walk(mode, {"detach, plugin, error": (detach_in_plugin("error"), 0),
                    "detach, plugin, kill": (detach_in_plugin("kill"), 0),
                    "detach, agent, error": (detach_in_agent("error"), 0),
                    "detach, agent, kill": (detach_in_agent("kill"), IN_HAND)})


def test_own_addresses():
    """ADD and DEL, with addresses that the agent assigns"""
    walk("own", {"attach, agent, error": (attach_in_agent("error"), 0),
                 "attach, agent, kill": (attach_in_agent("kill"), IN_HAND),
                 "detach, agent, error": (detach_in_agent("error"), 0),
                 "detach, agent, kill": (detach_in_agent("kill"), IN_HAND)})


def test_restart():
    """SIGTERM, then start"""
    for mode in modes():
        walk(mode, {"start, error": (start_agent("error"), 0),
                    "start, kill": (start_agent("kill"), 0),
                    "stop, error": (stop_agent("error"), 0),
                    "stop, kill": (stop_agent("kill"), IN_HAND)})


def test_reload():
    """SIGHUP, with a gateway that is added and removed"""
    walk("veth", {"reload, error": (reload_in_agent("error"), 0),
                  "reload, kill": (reload_in_agent("kill"), IN_HAND)})


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="all steps of all walks of the tests")
    parser.add_argument("--seed", type=int, help="chooses otherwise")
    parser.add_argument("--walk", help="those whose name has this in it")
    parser.add_argument("--steps", help="numbers of steps, as 17,30-40")
    _, rest = parser.parse_known_args(namespace=OPTIONS)
    sys.argv[1:] = rest


if __name__ == "__main__":
    options()
    runner.main(globals())
