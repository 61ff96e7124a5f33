#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two threads beside a busy process: an encoder block by block on one thread and on two, in turn, by the wall clock, while another process
computes without end on one core. `tests/bench/under_load.py [--build build/release] [--rounds 40] [--busy 1]`"""
import argparse, os, statistics, subprocess, sys, time

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cases import ENCODER
from libflow import Library


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--build", default="build/release")
    ap.add_argument("--rounds", type=int, default=40)
    ap.add_argument("--busy", type=int, default=1, help="processes that compute beside")
    a = ap.parse_args()
    x = (np.random.default_rng(1).standard_normal((1, 128, 384)) * 0.1).astype(np.float32)
    runs = {}
    for threads in (1, 2):
        session = Library(os.path.join(a.build, "libflow.so"), os.path.join(a.build, "plugins"), threads).graph(ENCODER, {}).session()
        session.input("x", x)
        for _ in range(3): session.run()
        runs[threads] = session
    for busy in (0, a.busy):
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            time.sleep(0.3)
            times = {1: [], 2: []}
            for _ in range(a.rounds):
                for threads, session in runs.items():
                    start = time.perf_counter()
                    session.run()
                    times[threads].append(time.perf_counter() - start)
        finally:
            for p in others: p.kill(), p.wait()
        one, two = (statistics.median(times[t]) for t in (1, 2))
        print(f"{busy} busy beside, load {os.getloadavg()[0]:.1f}: one thread {one * 1e3:.1f} ms, two {two * 1e3:.1f} ms (median of {a.rounds}): two are {one / two:.2f} times as fast")


main()
