#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every block of C in docs/embedding.md stands, line for line, in one of docs/examples; indentation is of no account."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parents[2]


def lines(text):
    return "\n".join(line.strip() for line in text.strip().splitlines())


examples = {path.name: lines(path.read_text()) for path in sorted((root / "docs/examples").glob("*.c*"))}
blocks = re.findall(r"^```c\n(.*?)^```", (root / "docs/embedding.md").read_text(), re.M | re.S)
missing = [block for block in blocks if not any(lines(block) in text for text in examples.values())]
for block in missing:
    print("in no example:\n" + block)
print(f"{len(blocks) - len(missing)} of {len(blocks)} blocks are in the examples")
sys.exit(bool(missing) or len(blocks) < 8)
