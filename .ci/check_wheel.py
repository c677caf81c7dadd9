"""Build the sdist and from it the wheel, and compare that with the tree: every module of the
package as a real file, and nothing else."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """0 if the wheel holds what the tree holds."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, str(ROOT)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with zipfile.ZipFile(next(Path(out).glob("*.whl"))) as wheel:
            held = {
                name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name
            }
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "sigprop", "theory", "simulations", "paper_figures"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    tree = {}
    for name in tracked:
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            tree[name if name.startswith("sigprop/") else f"sigprop/{name}"] = path.read_bytes()
    for name in sorted(set(tree) ^ set(held)):
        print(f"{name}: only in the {'tree' if name in tree else 'wheel'}")
    different = [name for name in set(tree) & set(held) if tree[name] != held[name]]
    for name in sorted(different):
        print(f"{name}: differs")
    same = tree == held
    print(f"wheel: {len(held)} files, {'as in the tree' if same else 'not as in the tree'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
