#!/usr/bin/python3
"""count.py FILE...: reads Bazel's build events, prints "N passed, N failed"; exit 1 unless some passed and none failed.

A test target counts once for each configuration that it ran in. One that could not be built has failed."""

import json
import os
import sys


def main(files):
    passed, failed = 0, []
    for file in files:
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                event = json.loads(line)
                if "testSummary" in event["id"]:
                    if event["testSummary"]["overallStatus"] == "PASSED":
                        passed += 1
                    else:
                        failed.append(f"{event['id']['testSummary']['label']} ({os.path.basename(file)}): "
                                      f"{event['testSummary']['overallStatus']}")
                elif "targetCompleted" in event["id"] and not event.get("completed", {}).get("success"):
                    failed.append(f"{event['id']['targetCompleted']['label']} ({os.path.basename(file)}): NOT BUILT")
    for line in failed:
        print(f"failed: {line}")
    print(f"{passed} passed, {len(failed)} failed")
    return 0 if passed and not failed else 1


sys.exit(main(sys.argv[1:]))
