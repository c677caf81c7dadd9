"""Judge a folder that ``sigprop figures`` wrote by its store alone: every verdict as its JSON says,
none that survives a theory wrong by 3 %, and every CSV file what the store has.

python .ci/check_figures.py FOLDER
"""

import json
import sys
from pathlib import Path

from sigprop.errors import InputError
from sigprop.paper_figures import figures
from sigprop.paper_figures._store import load

SHIFTS = (0.97, 1.03)


def main(folder: Path) -> int:
    """0 if all is as it should be."""
    wrong = []
    for name, figure in figures().items():
        try:
            shown = load(folder, figure)
        except InputError as error:
            wrong.append(str(error))
            continue
        tables = shown.rows
        for table, rows in shown.tables.items():
            file = folder / f"{name}.{table}.csv"
            if not file.is_file() or file.read_text(encoding="utf-8") != rows.to_csv():
                wrong.append(f"{name}: {file.name} is not what the store has")
        said = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        found = figure.judge(tables)
        if found.to_dict() != said["judgement"] or found.verdict != "confirmed":
            wrong.append(
                f"{name}: {found.verdict} by its rows, {said['verdict']} in its JSON; "
                f"{found.reason}"
            )
        for table, rows in tables.items():
            if table in (*figure.volatile, *figure.unjudged) or not any(
                "theory" in row for row in rows
            ):
                continue
            if figure.judge({table: rows}).points == 0:
                wrong.append(f"{name}: {table} has a theory that nothing is judged by")
            for factor in SHIFTS:
                moved = [
                    {**row, "theory": None if row.get("theory") is None else factor * row["theory"]}
                    for row in rows
                ]
                if figure.judge({**tables, table: moved}).verdict != "rejected":
                    wrong.append(f"{name}: {table} passes with its theory times {factor}")
    for line in wrong:
        print(line)
    print(
        f"figures: {len(figures())} judged from their tables, "
        f"{'all as they should be' if not wrong else f'{len(wrong)} wrong'}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
