#!/usr/bin/env python3
"""Sum up a column of CSV files for each value of another one, and write a report in Markdown and CSV."""

import argparse
import csv
import sys
from collections import Counter
from decimal import Decimal, InvalidOperation
from pathlib import Path


def main() -> int:
    """Read the files, write `report.md` and `report.csv`, and say what was left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="CSV files with a header")
    parser.add_argument("--by", required=True, help="column whose values make the groups")
    parser.add_argument("--sum", required=True, dest="number", help="column whose numbers are added up")
    parser.add_argument("--title", default="Report")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for report.md and report.csv")
    arguments = parser.parse_args()

    totals: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for path in arguments.files:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {arguments.by, arguments.number} - set(reader.fieldnames or ())
            if missing:
                print(f"{path}: no column {', '.join(sorted(missing))}", file=sys.stderr)
                return 1
            skipped = 0
            for row in reader:
                try:
                    number = Decimal((row[arguments.number] or "").strip())
                except InvalidOperation:
                    skipped += 1
                    continue
                totals[row[arguments.by]] += number
                rows[row[arguments.by]] += 1
        if skipped:
            print(
                f"{path}: {skipped} rows left out, their {arguments.number!r} is no number", file=sys.stderr
            )

    lines = [(group, rows[group], total) for group, total in totals.most_common()]
    header = (arguments.by, "rows", arguments.number)
    with (arguments.out / "report.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])
    table = [header, ("---", "---:", "---:"), *lines, ("**all**", rows.total(), totals.total())]
    text = "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in table)
    (arguments.out / "report.md").write_text(f"# {arguments.title}\n\n{text}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
