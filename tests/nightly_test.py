"""The table that tests/nightly.sh fills: a row replaces its predecessor, and everything else stays."""

import os
import tempfile

from tests.lib import nightly_table, runner
from tests.lib.lab import source
from tests.lib.nightly_table import BEGIN, END, with_row

HEAD = "| test | date |\n|---|---|\n"
BEFORE, AFTER = "# Title\n\n| a | 2020-01-01 |\n", "\n\nText | with | bars.\n"


def document(*rows):
    return f"{BEFORE}{BEGIN}\n{HEAD}{''.join(rows)}{END}{AFTER}"


def test_rows():
    """the first row, another one, a newer result; rows of tests that did not run keep their dates"""
    text = with_row(document(), "`b`", "2026-01-01")
    assert text == document("| `b` | 2026-01-01 |\n"), text
    text = with_row(text, "`a`", "2026-01-02")
    assert text == document("| `a` | 2026-01-02 |\n", "| `b` | 2026-01-01 |\n"), text
    text = with_row(text, "`b`", "2026-01-03")
    assert text == document("| `a` | 2026-01-02 |\n", "| `b` | 2026-01-03 |\n"), text


def test_refusals():
    """without its markers, twice with them, without a table, or with a bar in a cell nothing is written"""
    good = document()
    for text, cell in ((good.replace(BEGIN, ""), "x"), (good.replace(END, ""), "x"), (good + good, "x"),
                       (good.replace(HEAD, ""), "x"), (good.replace(HEAD, HEAD + "text\n"), "x"), (good, "a | b")):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "document.md")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            try:
                nightly_table.main(path, "`a`", cell)
            except ValueError:
                pass
            else:
                raise AssertionError(f"accepted: {text!r}, {cell!r}")
            with open(path, encoding="utf-8") as file:
                assert file.read() == text
            assert os.listdir(folder) == ["document.md"]


def test_document():
    """docs/COMPATIBILITY.md has the markers and a table of four columns"""
    with open(source("docs/COMPATIBILITY.md"), encoding="utf-8") as file:
        text = file.read()
    assert "| `a` | 2026-01-01 | Linux 6.18 | passed |\n" in with_row(text, "`a`", "2026-01-01", "Linux 6.18", "passed")
    assert text.partition(BEGIN)[2].split("\n")[1].count("|") == 5


if __name__ == "__main__":
    runner.main(globals())
