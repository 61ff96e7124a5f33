# SPDX-License-Identifier: Apache-2.0
"""losses.py METRICS.jsonl OTHER.jsonl MOST: do two trainings tell the same losses, step by step, within MOST of the first's?"""
import json
import sys


def told(path):
    """(event, step, name of the loss) and its value"""
    found = {}
    for line in open(path):
        line = json.loads(line)
        if line["event"] == "step":
            found["step", line["step"], "loss"] = line["loss"]
        elif line["event"] == "validation":
            found.update({("validation", line["step"], name): value for name, value in line["metrics"].items()})
    return found


one, other, most = told(sys.argv[1]), told(sys.argv[2]), float(sys.argv[3])
off = {key: abs(one[key] - other[key]) / abs(one[key]) for key in one if key in other}
worst = max(off, key=off.get) if off else None
print("%d losses, worst %s: %s and %s" % (len(off), worst, one.get(worst), other.get(worst)))
sys.exit(not (off and one.keys() == other.keys() and off[worst] <= most))
