"""Command lines that nobody meant: every option of every command with values that it was not
made for, seeded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from sigprop.architectures import entries

COMMANDS = {
    "list": [],
    "derive": ["--set", "--config", "--out", "--latex", "--json"],
    "predict": [
        "--set",
        "--config",
        "--out",
        "--quantity",
        "--applications",
        "--approximation",
        "--json",
    ],
    "exponents": ["--set", "--config", "--out", "--variable", "--sizes", "--symbols"],
    "critical": ["--set", "--config", "--out", "--criterion", "--per-class", "--fixed-rate"],
    "costs": ["--set", "--config", "--out", "--width", "--sequence", "--vocabulary"],
    "measure": [
        "--set",
        "--config",
        "--out",
        "--quantity",
        "--applications",
        "--width",
        "--samples",
        "--seed",
        "--engine",
        "--memory-mib",
    ],
    "verify": [
        "--set",
        "--config",
        "--out",
        "--tolerance",
        "--width",
        "--samples",
        "--jobs",
        "--against",
        "--against-set",
        "--exponents",
        "--quick",
        "--all",
    ],
    "check": [
        "--set",
        "--config",
        "--out",
        "--plot",
        "--optimizer",
        "--parametrisation",
        "--variable",
        "--steps",
        "--loss",
        "--width",
        "--samples",
    ],
    "prescribe": [
        "--set",
        "--config",
        "--out",
        "--base",
        "--target",
        "--optimizer",
        "--s",
        "--decay",
        "--parametrisation",
        "--init",
        "--learning-rate",
        "--weight-decay",
        "--epsilon",
        "--multiplier",
        "--base-carries-depth-factor",
        "--latex",
    ],
    "figures": ["--list", "--formats", "--out", "--seed", "--jobs", "--replot"],
}
NAMES = [
    "looped-mlp",
    "mlp",
    "transformer",
    "nag",
    "variable-width",
    "looped",
    "",
    "-",
    "--",
    "self",
    "LOOPED-MLP",
    "looped-mlp ",
    "1",
    "\u0000",
    "../mlp",
]
VALUES = [
    "",
    " ",
    "0",
    "-1",
    "1.5",
    "1e400",
    "-1e400",
    "nan",
    "-nan",
    "inf",
    "-inf",
    "1_000",
    "0x10",
    "1e-400",
    "9" * 5000,
    "-0",
    "+3",
    "1e6",
    "1e7",
    "3",
    "1/0",
    "N/0",
    "0**-1",
    "9**9**9",
    "N" * 300,
    "(" * 500,
    "x" * 10**5,
    "1," * 5000,
    "=",
    "==",
    "a=b=c",
    "=3",
    "a=",
    ",",
    ",,",
    "..",
    "0..",
    "..3",
    "5..1",
    "0..5..9",
    "all,all",
    "\u00b2",
    "\u0663",
    "\u00e9\u00fc",
    "\U0001f600",
    "\x1b[31m",
    "a\nb",
    "a\tb",
    "\u0000",
    "\udcff",
    "none",
    "None",
    "true",
    "True",
    "[]",
    "{}",
    "'",
    '"',
    "\\",
    "%s",
    "{0}",
    "$HOME",
    "-",
    "--",
    "--set",
    "@/etc/passwd",
    "__import__('os')",
    "1j",
    "1+2j",
    "relu",
    "[1, 2]",
]
KEYWORDS = [
    "self",
    "cls",
    "name",
    "given",
    "base",
    "target",
    "optimizer",
    "init",
    "s",
    "decay",
    "parameters",
    "arch",
    "args",
    "kwargs",
    "builder",
    "lambda",
    "class",
    "learning_rate",
    "depth",
    "loops",
    "activation",
    "words",
    "input_gram",
    "mask",
    "norm_eps",
    "weights",
    "schedule",
    "width",
    "heads",
    "head_dim",
    "residual_scale",
    "c_w",
    "c_b",
    "tokens",
    "token_cosine",
    "readout",
    "dropout",
    "sgd_factors",
    "attention_bias",
    "attention_rescale",
    "architecture",
]
CONFIGS = {
    "binary.toml": bytes(range(256)),
    "empty.toml": b"",
    "nested.toml": b"[a.b.c]\nd = 1\n",
    "deep.toml": b"a = " + b"[" * 2000 + b"]" * 2000,
    "table.toml": b"depth = {a = 1}\n",
    "list.toml": b"depth = [1, 2]\n",
    "date.toml": b"depth = 1979-05-27T07:32:00Z\n",
    "bool.toml": b"depth = true\nloops = false\n",
    "nan.toml": b"residual_scale = nan\nc_w = inf\n",
    "self.toml": b'self = 1\nname = "x"\n',
    "keys.toml": b'"" = 1\n" " = 2\n',
    "architecture.toml": b"architecture = []\n",
    "nul.toml": b'architecture = "\\u0000"\ninput_gram = "\\u0000"\n',
    "huge.toml": b"depth = " + b"9" * 5000 + b"\n",
    "words.toml": b'words = ["a", "b"]\nmask = [[1], [2, 3]]\n',
}


def folder(path: Path) -> list[str]:
    """Paths that no option was made for, in ``path``: folders, devices, links to nowhere, files
    that hold something else."""
    for name, content in CONFIGS.items():
        (path / name).write_bytes(content)
    (path / "folder.json").mkdir()
    (path / "folder.toml").mkdir()
    (path / "dangling.json").symlink_to(path / "nowhere" / "x.json")
    (path / "loop.json").symlink_to(path / "loop.json")
    (path / "gram.csv").write_text("1,2\n3\n")
    (path / "gram.npy").write_bytes(b"\x93NUMPY")
    names = [
        *CONFIGS,
        "folder.json",
        "folder.toml",
        "dangling.json",
        "loop.json",
        "gram.csv",
        "gram.npy",
        "x.json",
        "x.csv",
        ".json",
        "x.toml/y.json",
    ]
    strange = [
        "/dev/null",
        "/dev/null/x.json",
        "/proc/x.json",
        "/proc/self/mem",
        str(path / "nowhere" / "x.json"),
        "/",
        ".",
    ]
    strange += ["a" * 300 + ".json", "a\u0000b.json", "\u00e9" * 200]
    return [*(str(path / name) for name in names), *strange]


NEEDED = {"prescribe": ["--base", "width=64", "--target", "width=128"]}
"""Options without which a command says no more than that they are missing."""


class Malformed:
    """Draws command lines: most of them right but for one option's value, some wrong in many
    places."""

    def __init__(self, seed: int, paths: list[str]):
        self.chance, self.paths = random.Random(seed), paths
        self.parameters = {name: list(entry.defaults) for name, entry in entries().items()}

    def lines(self, count: int) -> Iterator[list[str]]:
        """``count`` of them."""
        for _ in range(count):
            yield self.line()

    def line(self) -> list[str]:
        """One."""
        chance = self.chance
        if chance.random() < 0.15:
            command, name = chance.choice([*COMMANDS, *VALUES, "--help"]), chance.choice(NAMES)
        else:
            command, name = chance.choice([*COMMANDS]), chance.choice([*self.parameters])
        words = [command] + (
            [name] if command not in ("list", "figures") or chance.random() < 0.1 else []
        )
        known = COMMANDS.get(command, [])
        options = chance.choices(
            ["--set", *known, "--nothing", "--json"], k=chance.choice([1, 1, 1, 1, 2, 4])
        )
        for option in options:
            value = self.value(option, name)
            words += (
                [f"{option}={value}"]
                if chance.random() < 0.2
                else [option]
                if chance.random() < 0.1
                else [option, value]
            )
        return words + [
            word for word in NEEDED.get(command, []) if not {"--base", "--target"} & set(options)
        ]

    def value(self, option: str, name: str) -> str:
        """Anything, and what is nearly right."""
        chance = self.chance
        if option in ("--config", "--out", "--plot") or chance.random() < 0.1:
            return chance.choice([*self.paths, chance.choice(VALUES)])
        if option in ("--set", "--against-set", "--base", "--target") and chance.random() < 0.9:
            keys = (
                self.parameters.get(name, KEYWORDS)
                if chance.random() < 0.7
                else [*KEYWORDS, *VALUES]
            )
            return (
                f"{chance.choice(keys)}="
                f"{chance.choice([*VALUES, *self.paths] if chance.random() < 0.9 else self.paths)}"
            )
        return chance.choice([*VALUES, *NAMES])
