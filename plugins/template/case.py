# SPDX-License-Identifier: Apache-2.0
"""Writes case.safetensors: inputs of the graph and what must come out, worked out here from the equation and not by the operator.

    python3 case.py [FILE]

Change `forward` and `backward` with the equation; `flowrun verify softsign.yaml case.safetensors` compares."""
import json
import random
import struct
import sys

scale = 2.0  # as softsign.yaml says
shape = [3, 7]


def forward(x):
    return scale * x / (1 + abs(x))


def backward(x, dy):
    return dy * scale / (1 + abs(x)) ** 2


random.seed(1)
count = shape[0] * shape[1]
x = [random.gauss(0, 1.5) for _ in range(count)]
dy = [random.gauss(0, 1) for _ in range(count)]
tensors = {
    "in.x": x,
    "out.y": [forward(v) for v in x],
    "cot.y": dy,  # what comes back to y, and, for it, what goes on to x
    "grad.in.x": [backward(v, g) for v, g in zip(x, dy)],
}

header, data = {}, b""
for name, values in tensors.items():
    begin, data = len(data), data + struct.pack("<%dd" % len(values), *values)
    header[name] = {"dtype": "F64", "shape": shape, "data_offsets": [begin, len(data)]}
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[1] if len(sys.argv) > 1 else "case.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + data)
