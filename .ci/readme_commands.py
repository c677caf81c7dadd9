"""Print the README's sh blocks, each ended by a NUL."""

import re
import sys
from pathlib import Path

text = (Path(__file__).parent.parent / "README.md").read_text()
for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.M | re.S):
    sys.stdout.write(block.strip() + "\0")
