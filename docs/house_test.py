#!/usr/bin/env python3
"""Checks that the picture of the rooms in CONTRIBUTING.md agrees with the BUILD files of plugin/, agent/ and cni/.

The picture is the block marked "house". Its text before "#" names the rooms; a room is a folder with a BUILD file.
1.  The picture has each room once, and no other. Rooms named testing are not drawn: only tests depend on them.
2.  A room depends only on rooms in lower rows (deps of targets that are not tests).
3.  agent/ctl and cni depend on no room of agent/ but agent/api.
4.  agent/ and cni/ use plugin/ through DOORS only: frames, sockets and stations are reached through plugin/switch.h.

Limits: the test reads BUILD files as text, without Bazel: it does not see deps that a macro adds, select() or aliases.
Bazel itself enforces `visibility`. Rows that are equal in the picture may not depend on each other.

Outside of Bazel: python3 docs/house_test.py
"""

import ast
import os
import re
import sys

# The tree itself, not the runfiles: Bazel links this file to its source.
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
TOPS = ("plugin", "agent", "cni")
ROOM = re.compile(r"\b(?:%s)(?:/\w+)*" % "|".join(TOPS))
# agent/node opens the kernel datapath.
DOORS = {"plugin", "plugin/base", "plugin/os", "plugin/vnl", "plugin/wire"}
WIRING = {"agent/node": {"plugin/fastpath"}}


def picture(text):
    """Room -> row, counted from the top."""
    block = re.search(r"^```house\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rows = {}
    for number, line in enumerate(block.group(1).splitlines() if block else []):
        for room in ROOM.findall(line.split("#")[0]):
            rows.setdefault(room, []).append(number)
    return rows


def is_testing(room):
    return "testing" in room.split("/")


def deps(build):
    """Rooms on which the targets of a BUILD file depend, except its tests: (room, target)."""
    for call in ast.walk(ast.parse(build)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, (ast.Name, ast.Attribute)):
            continue
        kind = call.func.id if isinstance(call.func, ast.Name) else call.func.attr
        arguments = {k.arg: k.value for k in call.keywords}
        testonly = isinstance(arguments.get("testonly"), ast.Constant) and arguments["testonly"].value
        if kind.endswith("_test") or "fuzz" in kind or testonly or "deps" not in arguments:
            continue
        name = arguments.get("name")
        for label in ast.walk(arguments["deps"]):
            if isinstance(label, ast.Constant) and str(label.value).startswith("//"):
                yield label.value[2:].split(":")[0], getattr(name, "value", kind)


def rooms():
    """Room -> text of its BUILD file."""
    found = {}
    for top in TOPS:
        for folder, _, files in os.walk(os.path.join(ROOT, top)):
            if "BUILD" in files:
                with open(os.path.join(folder, "BUILD"), encoding="utf-8") as f:
                    found[os.path.relpath(folder, ROOT)] = f.read()
    return found


def check(drawn, builds):
    errors, arrows = [], set()
    for room in sorted(set(drawn) - set(builds)):
        errors.append(f"CONTRIBUTING.md draws {room}, which has no BUILD file")
    for room, rows in sorted(drawn.items()):
        if len(rows) > 1:
            errors.append(f"CONTRIBUTING.md draws {room} {len(rows)} times")
    for room, build in sorted(builds.items()):
        if is_testing(room):
            continue
        if room not in drawn:
            errors.append(f"CONTRIBUTING.md does not draw {room}")
            continue
        for other, target in deps(build):
            if other == room or other.split("/")[0] not in TOPS:
                continue
            arrows.add((room, other))
            arrow = f"//{room}:{target} depends on {other}"
            if is_testing(other):
                errors.append(f"{arrow}, which is for tests")
            elif other not in drawn:
                continue  # reported above, or by Bazel
            elif min(drawn[other]) <= max(drawn[room]):
                errors.append(f"{arrow}, which is not in a lower row of the picture")
            if room in ("cni", "agent/ctl") and other.startswith("agent/") and other != "agent/api":
                errors.append(f"{arrow}: of agent/ it may use agent/api only")
            if not room.startswith("plugin") and other.startswith("plugin") and (
                    other not in DOORS | WIRING.get(room, set())):
                errors.append(f"{arrow}, past plugin/switch.h")
    return errors, arrows


def check_itself():
    """One error of each kind is found."""
    drawn = picture("```house\nagent agent/ctl  # not plugin/none\n v\nagent/api agent/x\nplugin/cloud\nplugin plugin/gone\n```\n")
    assert "plugin/none" not in drawn and drawn["agent/ctl"] == [0], drawn
    library = 'cc_library(name = "a", deps = ["%s"])\n'
    builds = {
        "agent": library % "//plugin/cloud:cloud" + '[unit_test(name = n, deps = ["//agent/ctl"]) for n in ["a"]]\n',
        "agent/ctl": library % "//agent/x",
        "agent/api": library % "//agent/ctl/testing:fake",
        "agent/x": library % "//agent/api",
        "agent/ctl/testing": library % "//agent",
        "plugin": "",
        "plugin/cloud": "",
        "plugin/new": "",
    }
    errors, _ = check(drawn, builds)
    assert len(errors) == 6, errors


def main():
    check_itself()
    with open(os.path.join(ROOT, "CONTRIBUTING.md"), encoding="utf-8") as f:
        drawn = picture(f.read())
    builds = rooms()
    errors, arrows = check(drawn, builds)
    print("\n".join(errors))
    print(f"house: {len(drawn)} rooms, {len(arrows)} arrows, {len(errors)} errors")
    sys.exit(1 if errors or len(arrows) < 20 else 0)


main()
