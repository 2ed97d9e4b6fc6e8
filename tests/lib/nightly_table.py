"""The table of docs/COMPATIBILITY.md that tests/nightly.sh fills: nightly_table.py DOCUMENT ENTRY DATE VERSIONS RESULT.

It replaces the row of ENTRY or adds one. All other rows, and the text outside of the two markers, stay as they are."""

import os
import sys

BEGIN, END = "<!-- nightly: begin -->", "<!-- nightly: end -->"


def with_row(text, entry, *cells):
    """`text` with one row for `entry`; rows are sorted by entry. ValueError: no table between the markers."""
    before, begin, rest = text.partition(BEGIN + "\n")
    table, end, after = rest.partition(END)
    lines = table.splitlines()
    if not begin or not end or BEGIN in after or END in after or len(lines) < 2 or any(l[:1] != "|" for l in lines):
        raise ValueError(f"no table between one {BEGIN} and one {END}")
    if any("|" in cell or "\n" in cell for cell in (entry, *cells)):
        raise ValueError(f"a cell contains '|' or a line break: {(entry, *cells)}")
    rows = {line.split("|")[1].strip(): line for line in lines[2:]}
    rows[entry] = "| " + " | ".join((entry, *cells)) + " |"
    lines[2:] = [rows[key] for key in sorted(rows)]
    return before + begin + "".join(line + "\n" for line in lines) + end + after


def main(document, *row):
    with open(document, encoding="utf-8") as file:
        text = with_row(file.read(), *row)
    with open(document + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(document + ".new", document)


if __name__ == "__main__":
    main(*sys.argv[1:])
