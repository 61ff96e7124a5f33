#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hour.py FLOWRUN FOLDER: the recording of FOLDER over and over for an hour, from a pipe, in pieces of 10 ms. The resident size
after a minute and at the end may differ by a MiB."""
import subprocess, sys

flowrun, folder = sys.argv[1:]
wave = open(f"{folder}/example.wav", "rb").read()[44:]
SECOND = 32000
process = subprocess.Popen([flowrun, "run", f"{folder}/fsmn-vad.yaml", "--input", "wave=-", "--stream", "S=160", "--output", "segments=-", "--quiet"],
                           stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


def resident():
    for line in open(f"/proc/{process.pid}/status"):
        if line.startswith("VmRSS"): return int(line.split()[1])


sent, first = 0, None
while sent < 3600 * SECOND:
    process.stdin.write(wave)
    sent += len(wave)
    if first is None and sent > 60 * SECOND: first = resident()
last = resident()
process.stdin.close()
status = process.wait()
print(f"resident after a minute {first} KiB, after an hour {last} KiB, exit status {status}")
sys.exit(status != 0 or abs(last - first) > 1024)
