# SPDX-License-Identifier: Apache-2.0
"""metric.py METRICS.jsonl CONDITION: is it true of v, the last validation's metrics by name, and the last step's loss as v["step"]?"""
import json
import sys

lines = [json.loads(line) for line in open(sys.argv[1])]
v = {"step": [line["loss"] for line in lines if line["event"] == "step"][-1]}
for line in lines:
    if line["event"] == "validation":
        v.update(line["metrics"])
print(v)
sys.exit(0 if eval(sys.argv[2], {"v": v}) else 1)
