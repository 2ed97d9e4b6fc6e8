"""Runs the functions test_* of a script: all of them, or those named on its command line."""

import sys
import time
import traceback


def tried(program, version):
    """Names the version of a program that a test uses; tests/nightly.sh records it."""
    print(f"[ WITH ] {program} {version}", flush=True)


def main(names, unable=None):
    """`unable`: the reason why no test can run on this machine. lib/count.py does not count that as a pass."""
    tests = {name: f for name, f in names.items() if name.startswith("test_") and callable(f)}
    wanted = sys.argv[1:] or list(tests)
    unknown = [name for name in wanted if name not in tests]
    if unknown or not wanted:
        sys.exit(f"no such test: {unknown}; there are {list(tests)}")
    if unable:
        for name in wanted:
            print(f"[ SKIP ] {name}: {unable}")
        sys.exit(print(f"0 passed, 0 failed, {len(wanted)} skipped"))
    failed = []
    for name in wanted:
        print(f"[ RUN  ] {name}: {(tests[name].__doc__ or '').strip()}", flush=True)
        start = time.monotonic()
        try:
            tests[name]()
            verdict = "  OK  "
        except Exception:  # the remaining tests are still worth running
            traceback.print_exc(file=sys.stdout)
            failed.append(name)
            verdict = "FAILED"
        print(f"[{verdict}] {name} ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{len(wanted) - len(failed)} passed, {len(failed)} failed {failed or ''}")
    sys.exit(1 if failed else 0)
