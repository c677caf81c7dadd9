"""docs/gallery.md and its pictures, from a folder that ``sigprop figures`` wrote.

sigprop figures --quick --out figures && python docs/make_gallery.py figures
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

from sigprop.paper_figures import figures

DOCS = Path(__file__).parent
PICTURES = DOCS / "images" / "figures"
MOST, COLOURS = 150_000, 256
HEAD = """# Gallery

Every figure below is made by `sigprop figures NAME`; `sigprop figures --quick` makes them all in
minutes. Lines are the wide limit, points are networks with 95 % intervals. Beside each picture lie
its tables (CSV) and a JSON file of parameters, seeds, versions and the verdict, all written from
figures.db, which keeps the tables; `--replot` draws and judges again from that.

The verdict: a point measured at widths `n_1 < n_2` is extrapolated, `d = a + b/n`, and contradicts
its line when `a` is farther from zero than Student's quantile (1 % for the whole figure, divided by
its points) times its standard error plus `|b|/n_2`, which covers the next order. A figure is
*confirmed* when no point does and every curve has a point that a line wrong by 3 % of its scale
would have contradicted, *inconclusive* when the bars are too wide for that; the scale is the
predicted value of variances and gradients, and one for cosines, rates and exponents. Other points
of a curve may show less than its best one does. Published numbers must be met to every printed
digit; `verdicts` keeps each case's own tolerance, and `prescribed-steps` asks for 30 %, where
others ask for 3 %.
"""


def main(folder: Path) -> None:
    """Write the page and copy the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    parts = [HEAD]
    for name, figure in figures().items():
        made = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        target = PICTURES / f"{name}.png"
        with Image.open(folder / f"{name}.png") as picture:
            picture.convert("RGB").quantize(COLOURS).save(target, optimize=True)
        if target.stat().st_size >= MOST:
            raise SystemExit(
                f"{target}: {target.stat().st_size} bytes; fewer than {MOST} are accepted"
            )
        judged = made["judgement"]
        seen = (
            f"; a shift of {judged['detects']:.1%} would have shown in every curve"
            if judged["detects"]
            else ""
        )
        caption = made["caption"].replace("*", "\\*")
        parts.append(
            f"## {name}\n\n{figure.shows[0].upper()}{figure.shows[1:]} ({figure.paper}, "
            f"{figure.item}).\n\n"
            f"```{{image}} images/figures/{name}.png\n:alt: {figure.shows}\n:width: "
            f"700px\n```\n\n{caption}\n\n"
            f"`sigprop figures {name}{' --quick' if made['quick'] else ''}`: {made['verdict']}, "
            f"{judged['points']} points{seen}.\n"
        )
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
