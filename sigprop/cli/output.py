"""Where results go: the table or one JSON document to stdout, the file when one was asked for,
remarks to stderr."""

from __future__ import annotations

from sigprop.cli.options import Chosen
from sigprop.cli.streams import answer, remark
from sigprop.tables.files import PAGES, SUFFIXES, check_path
from sigprop.tables.table import Table


def check_out(options: Chosen) -> None:
    """Refuse an ``--out`` that cannot be written before anything is computed for it."""
    if options.out is not None:
        check_path(options.out, SUFFIXES | PAGES)


def show(table: Table, options: Chosen, print_text: bool = True) -> None:
    """Write the file when one was asked for, then print (with ``--json`` the document, else the
    text unless told not to)."""
    if options.out is not None:
        table.save(options.out)
        remark(f"wrote {len(table)} rows to {options.out}")
    for line in (table.notes or {}).get("remarks", ()) if options.json else ():
        remark(line)
    if options.json or print_text:
        answer(table.to_json() if options.json else table)
