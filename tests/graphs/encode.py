#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""encode.py FLOWRUN FOLDER: every text of FOLDER/encoded.json through encode.yaml gives its recorded tokens."""
import json, subprocess, sys

flowrun, folder = sys.argv[1:]
bad = 0
texts = json.load(open(f"{folder}/encoded.json"))
for text, tokens in texts.items():
    out = subprocess.run([flowrun, "run", f"{folder}/encode.yaml", "--input", f"text=:{text}", "--json"], capture_output=True, text=True, check=True)
    found = json.loads(out.stdout)["outputs"]["tokens"]
    while found and isinstance(found[0], list): found = found[0]
    if found != tokens:
        bad += 1
        print(f"{text!r}: {found}, expected {tokens}")
print(f"{len(texts) - bad} texts as recorded")
sys.exit(bad > 0 or not texts)
