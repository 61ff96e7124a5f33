# SPDX-License-Identifier: Apache-2.0
"""sums.py TOKENS.npy TARGET.npy add|mul: is every target what its tokens say? 1 and 2 are digits, the lowest first, 3 is the sign, 0 nothing."""
import ast
import struct
import sys


def rows(path):
    data = open(path, "rb").read()
    (size,) = struct.unpack("<H", data[8:10])
    head = ast.literal_eval(data[10:10 + size].decode())
    assert head["descr"] == "<i8" and not head["fortran_order"]
    count, width = head["shape"]
    flat = struct.unpack("<%dq" % (count * width), data[10 + size:])
    return [flat[i * width:(i + 1) * width] for i in range(count)]


def number(digits):
    assert all(d in (1, 2) for d in digits)
    return sum((d - 1) << i for i, d in enumerate(digits))


seen = set()
for tokens, target in zip(rows(sys.argv[1]), rows(sys.argv[2])):
    sign, end = tokens.index(3), len(target) - target.count(0)
    a, b = number(tokens[:sign]), number(tokens[sign + 1:])
    assert len(tokens) == 2 * sign + 1 and not any(target[end:])
    assert number(target[:end]) == (a + b if sys.argv[3] == "add" else a * b), (tokens, target)
    seen.add((a, b))
assert len(seen) > 100
