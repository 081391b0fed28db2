"""The command: see :mod:`flanlib.pretrain`."""

import argparse
import json
from pathlib import Path

from flanlib.presets import LAB_BASE
from flanlib.pretrain import Recipe, train_base


def main() -> None:
    """Train the base model and print where it is and how well it does on unseen general conversation."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=LAB_BASE, help="folder for the model (default: the kit's own)")
    folder = train_base(Recipe(), parser.parse_args().out)
    told = json.loads((folder / "manifest.json").read_text())
    print(f"{folder}: {told['parameters']:,} parameters, {told['heldout_nats_per_byte']} nats per byte on unseen "
          f"general conversation, {told['wall_seconds']:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
