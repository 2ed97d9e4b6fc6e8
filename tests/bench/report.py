"""The tables of all benchmark programs."""

import datetime
import os
import subprocess


def heading():
    """A line of Markdown: date, version and machine."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), os.uname().machine)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return (f"## {datetime.date.today()}, {commit.stdout.strip()}, Linux {os.uname().release}, "
            f"{os.cpu_count()} x {model}, {memory} GiB\n\n")


def with_out(options):
    """The argparse parser, with the option that publish() takes."""
    options.add_argument("--out", help="also write the tables there (Markdown)")
    return options


def publish(text, out):
    print(text, end="")
    if out:
        with open(out, "w", encoding="utf-8") as f:
            f.write(text)
