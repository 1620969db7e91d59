"""The limits of cross/size-budget.tsv that are the image's."""

import os


def budget(what, board="virt-arm64"):
    """Bytes."""
    path = os.path.join(os.path.dirname(__file__), "..", "..", "..", "cross", "size-budget.tsv")
    with open(path, encoding="utf-8") as file:
        for line in file:
            fields = line.rstrip("\n").split("\t")
            if fields[:2] == [board, what]:
                return int(fields[2])
    raise LookupError(f"{path} has no line for {board} {what}")
