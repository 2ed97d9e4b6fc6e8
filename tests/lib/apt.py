"""Packages and sources of other Debian suites, from the machine's own mirror; nothing is installed."""

from tests.lib.process import run

# $1: a folder for lists and downloads, $2: a line of sources.list, rest: arguments of apt-get. Lists and sources are
# separate from those of the machine.
APT = """
mkdir -p "$1/lists/partial"; cd "$1"; echo "$2" > sources.list; shift 2
apt() {
  apt-get -q -o Dir::Etc::sourcelist="$PWD/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$PWD/lists" \\
    -o Dir::State::status=/dev/null -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false "$@"
}
apt update
apt "$@"
"""


def fetch(folder, kind, suite, *args):
    """Runs `apt-get ARGS` in `folder` for that suite only; `kind` is "deb" or "deb-src"."""
    mirror = run(["sh", "-c", "cat /etc/apt/sources.list.d/*.sources | awk '/^URIs:/ {print $2; exit}'"]).stdout.strip()
    run(["sh", "-ec", APT, "apt", folder, f"{kind} {mirror} {suite} main", *args], timeout=600)


def unpack(folder, suite, *packages):
    """Unpacks the files of `packages` below FOLDER/root."""
    fetch(folder, "deb", suite, "download", *packages)
    for package in packages:
        run(["sh", "-ec", 'cd "$1"; dpkg-deb -x "$2"_*.deb root; rm "$2"_*.deb', "unpack", folder, package], timeout=300)
