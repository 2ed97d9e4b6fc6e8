"""The lab itself: LAN, real members alone, both families. If this test fails, so do the others."""

import json
import os
import sys

from tests.lib import runner
from tests.lib.lab import Lab, source
from tests.lib.process import run


def test_members_meet():
    """vde_plug and vdens, on two nodes and on one, over IPv4 and over IPv6"""
    for vnl in ("vxvde://239.9.9.9", "vxvde://ff05:56de::9"):
        with Lab("harness") as lab:
            n1, n2 = lab.node("n1"), lab.node("n2")
            plug = n1.vde_plug("plug", vnl)
            near = n1.vdens("near", vnl)
            far = n2.vdens("far", vnl)
            for i, member in enumerate((plug, near, far), 1):
                member.join(i)
            for member in (plug, near, far):
                for other in (plug, near, far):
                    member.reaches(other.ip4)
                    member.reaches(other.ip6)
            with n2.capture("eth0", "udp") as seen:
                far.reaches(plug.ip4)
            assert seen, "pings cross the fabric"
            far.send_file(plug, plug.ip4, 1 << 20)
            assert not plug.csum_errors()
            result = far.iperf3(near, near.ip4, seconds=1)
            assert result["end"]["sum_received"]["bytes"] > 0
        assert not os.path.exists(lab.dir)
        assert not [n for n in os.listdir("/run/netns") if n.startswith(lab.name)]


def test_failure_leaves_nothing():
    """an exception inside the block: logs are printed, and everything is removed"""
    try:
        with Lab("harness") as lab:
            lab.node("n1").start("sleep", "sh", "-c", "echo A LINE IN A LOG; exec sleep 1000").says("A LINE")
            raise KeyError("wanted")
    except KeyError:
        pass
    assert not os.path.exists(lab.dir)
    assert not [n for n in os.listdir("/run/netns") if n.startswith(lab.name)]


def test_what_could_not_run_has_not_passed():
    """a test that is impossible on a machine appears in the count of all tests, with the reason"""
    with Lab("harness") as lab:
        with open(lab.file("unable.py"), "w", encoding="utf-8") as f:
            f.write("from tests.lib import runner\n"
                    "def test_it(): raise AssertionError\n"
                    "runner.main(globals(), unable='no such kernel')\n")
        log, events = lab.file("test.log"), lab.file("events")
        with open(log, "w", encoding="utf-8") as f:
            f.write(run([sys.executable, lab.file("unable.py")]).stdout)

        def count(*logs):
            with open(events, "w", encoding="utf-8") as f:
                for i, one in enumerate(logs):
                    print(json.dumps({"id": {"testResult": {"label": f"//t:{i}"}}, "testResult": {
                        "testActionOutput": [{"name": "test.log", "uri": f"file://{one}"}]}}), file=f)
                    print(json.dumps({"id": {"testSummary": {"label": f"//t:{i}"}},
                                      "testSummary": {"overallStatus": "PASSED"}}), file=f)
            return run([sys.executable, source("tests/lib/count.py"), events], check=False)

        done = count(log, os.devnull)
        assert done.returncode == 0 and done.stdout.splitlines() == [
            "SKIPPED, NOT TESTED: //t:0 (events): no such kernel", "1 passed, 0 failed, 1 skipped"], done
        assert count(log).returncode == 1, "nothing was tested"


if __name__ == "__main__":
    runner.main(globals())
