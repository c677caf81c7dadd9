"""What README and docs tell people to type, and what they say is printed: read from the pages,
compared with what happens."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(
        p
        for p in (ROOT / "docs").rglob("*.md")
        if not any(part.startswith("_") for part in p.parts)
    ),
]
FENCE = re.compile(
    r"^```(\{literalinclude\} )?(?:\{include\} )?(\S*)\n(.*?)^```", flags=re.M | re.S
)
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
CLOSE = 1e-4  # relative: float32 sums are rounded otherwise on another machine


@dataclass(frozen=True)
class Command:
    """page: its name; text: the command as the page has it, without what is said of it; shown:
    the output below it."""

    page: str
    text: str
    shown: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def shell(page: Path) -> list[Command]:
    """The commands of the page's sh and text blocks: lines of the former, lines that begin with
    $ of the latter."""
    found = []
    for _, language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        lines = text.splitlines()
        starts = [
            i
            for i, line in enumerate(lines)
            if line.startswith("$ ") or (language == "sh" and line.strip())
        ]
        if language == "text" and not starts:
            starts = [0]  # a command to paste, without a prompt
        for start, end in (
            zip(starts, [*starts[1:], len(lines)], strict=True)
            if language in ("sh", "text")
            else []
        ):
            typed = re.split(r"\s{2,}|\s#\s", lines[start].removeprefix("$ "), maxsplit=1)[
                0
            ].strip()
            found.append(Command(name(page), typed, "\n".join(lines[start + 1 : end]).strip()))
    return found


def python(page: Path) -> list[str]:
    """The page's Python blocks, the files that it includes among them."""
    found = []
    for included, language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if included:
            found.append((page.parent / language).read_text(encoding="utf-8"))
        elif language == "python":
            found.append(text)
    return found


def spans(page: Path, program: str) -> list[str]:
    """Commands of a program inside a sentence or a table."""
    return re.findall(rf"`({program} [^`]+)`", page.read_text(encoding="utf-8"))


def watched(code: str, record: str = "shown") -> str:
    """The code, with ``expression  # comment`` as ``shown(comment, expression)``; print is left
    as it is."""
    lines = code.splitlines()
    for node in reversed(ast.parse(code).body):
        last = lines[(node.end_lineno or 0) - 1]
        _, hash_, comment = last[(node.end_col_offset or 0) :].partition("#")
        if (
            isinstance(node, ast.Expr)
            and hash_
            and not (isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "print")
        ):
            lines[node.lineno - 1 : node.end_lineno] = [
                f"{record}({comment.strip()!r}, {ast.unparse(node.value)})"
            ]
    return "\n".join(lines) + "\n"


def differences(shown: str, printed: str) -> list[str]:
    """Lines of the page that are not what is printed: words alike, numbers to 1e-4; ``...`` at a
    line's end stands for its rest."""
    theirs, ours = (
        [line.rstrip() for line in text.strip().splitlines()] for text in (shown, printed)
    )
    found = [f"{len(theirs)} lines shown, {len(ours)} printed"] if len(theirs) != len(ours) else []
    return found + [
        f"shown:   {a}\nprinted: {b}" for a, b in zip(theirs, ours, strict=False) if not alike(a, b)
    ]


def alike(shown: str, printed: str) -> bool:
    if shown.endswith("..."):
        return printed.startswith(shown.removesuffix("...").rstrip(", "))
    bare = [
        " ".join(re.sub(r"-{2,}", "--", NUMBER.sub("#", line)).split()) for line in (shown, printed)
    ]
    numbers = [[float(x) for x in NUMBER.findall(line)] for line in (shown, printed)]
    return bare[0] == bare[1] and all(
        abs(a - b) <= CLOSE * max(abs(a), abs(b)) for a, b in zip(*numbers, strict=True)
    )
