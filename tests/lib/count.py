#!/usr/bin/python3
"""count.py FILE...: reads Bazel's build events, prints "N passed, N failed"; exit 1 unless some passed and none failed.

A test target counts once for each configuration in which it ran. One that could not be built has failed. One whose log
says that it could not run here (lib/runner.py) has not passed: it is counted as skipped, with its name and reason."""

import collections
import json
import os
import sys
import urllib.parse


def why_skipped(results):
    """The reasons in the logs of a target's runs for which nothing was tested; empty if something was."""
    reasons = set()
    for result in results:
        for output in result.get("testActionOutput", []):
            url = urllib.parse.urlparse(output.get("uri", ""))
            if output["name"] != "test.log" or url.scheme != "file":
                continue
            with open(urllib.parse.unquote(url.path), encoding="utf-8", errors="replace") as log:
                reasons |= {line.partition(": ")[2].strip() for line in log if line.startswith("[ SKIP ] ")}
    return "; ".join(sorted(reasons))


def main(files):
    passed, failed, skipped = 0, [], []
    for file in files:
        results = collections.defaultdict(list)  # by target
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                event = json.loads(line)
                if "testResult" in event["id"]:
                    results[event["id"]["testResult"]["label"]].append(event["testResult"])
                elif "testSummary" in event["id"]:
                    label = event["id"]["testSummary"]["label"]
                    name = f"{label} ({os.path.basename(file)})"
                    if event["testSummary"]["overallStatus"] != "PASSED":
                        failed.append(f"{name}: {event['testSummary']['overallStatus']}")
                    elif why := why_skipped(results[label]):
                        skipped.append(f"{name}: {why}")
                    else:
                        passed += 1
                elif "targetCompleted" in event["id"] and not event.get("completed", {}).get("success"):
                    failed.append(f"{event['id']['targetCompleted']['label']} ({os.path.basename(file)}): NOT BUILT")
    for line in failed:
        print(f"failed: {line}")
    for line in skipped:
        print(f"SKIPPED, NOT TESTED: {line}")
    print(f"{passed} passed, {len(failed)} failed" + (f", {len(skipped)} skipped" if skipped else ""))
    return 0 if passed and not failed else 1


sys.exit(main(sys.argv[1:]))
