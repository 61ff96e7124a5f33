#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real runs of flowrun in which one call of the system's fails: the n-th of its kind, or all from the n-th on (shim.c).

  sweep.py FLOWRUN SHIM [--most N] [--only KIND,SCENARIO,...] [--verbose]

Each must end by itself, with status 0 and the files that an undisturbed run writes, or with status 1 or 2, a message that says what failed,
and every file as it was, as it should become, or absent; nothing may lie beside them, nor memory be held that an undisturbed run
gives back. --most: that many calls of each kind and scenario, spread evenly (0: all).
"""
import argparse, json, os, random, shutil, struct, subprocess, sys, tempfile

parser = argparse.ArgumentParser()
parser.add_argument("flowrun")
parser.add_argument("shim")
parser.add_argument("--most", type=int, default=12)
parser.add_argument("--only", default="")
parser.add_argument("--verbose", action="store_true")
options = parser.parse_args()
flowrun, shim = os.path.realpath(options.flowrun), os.path.realpath(options.shim)
KINDS = ["memory", "open", "read", "short", "write", "sync", "rename", "close", "map", "folder"]
PATIENCE = 60  # seconds

PLANE = """flow: 1
name: fit
vars: {steps: 12}
inputs: {x: {dtype: f32, shape: [N, 3]}, t: {dtype: f32, shape: [N, 1]}}
nodes:
  h: {op: linear, in: x, with: {units: 4}}
  y: {op: linear, in: h, with: {units: 1}}
  loss: {op: mse, in: {x: y, target: t}}
outputs: {y: y, loss: loss}
train:
  loss: loss
  steps: "${steps}"
  update: [{params: "*", optimizer: sgd, with: {lr: 0.05}}]
  validate: {every: 6, metrics: {loss: loss}}
  checkpoint: {dir: runs/fit, every: 4, keep: 2}
"""
LOUD = """flow: 1
name: loud
inputs: {wave: {dtype: f32, shape: [1, S]}}
nodes: {y: {op: gain, in: wave}}
outputs: {y: y}
"""


def tensors(path, table):
    head, at, body = {}, 0, b""
    for name, (shape, numbers) in table.items():
        data = struct.pack(f"<{len(numbers)}f", *numbers)
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data)]}
        at, body = at + len(data), body + data
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file: file.write(struct.pack("<Q", len(text)) + text + body)


def make(folder):
    """What every scenario starts from."""
    draw = random.Random(1)
    numbers = lambda n: [draw.gauss(0, 1) for _ in range(n)]
    write = lambda name, data: open(os.path.join(folder, name), "wb").write(data)
    write("fit.yaml", PLANE.encode())
    write("loud.yaml", LOUD.replace("op: gain, in: wave", "op: mul, in: wave, with: {value: 2.0}").encode())
    tensors(os.path.join(folder, "points.safetensors"), {"x": ([8, 3], numbers(24)), "t": ([8, 1], numbers(8))})
    tensors(os.path.join(folder, "weights.safetensors"), {"h.weight": ([4, 3], numbers(12)), "h.bias": ([4], numbers(4)), "y.weight": ([1, 4], numbers(4)), "y.bias": ([1], numbers(1))})
    write("x.csv", b"1,2,3\n4,5,6\n")
    write("t.csv", b"1\n2\n")
    samples = struct.pack("<4000h", *(draw.randrange(-30000, 30000) for _ in range(4000)))
    write("a.wav", b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16) + b"data" + struct.pack("<I", len(samples)) + samples)
    write("before.npy", b"what was there before")


# name: (arguments, files that the run writes whole or not at all, standard input)
SCENARIOS = {
    "run": ("run fit.yaml --weights weights.safetensors --inputs points.safetensors --outputs out.safetensors --output y=before.npy --quiet", ["out.safetensors", "before.npy"], None),
    "csv": ("run fit.yaml --input x=x.csv --input t=t.csv --output y=y.csv", ["y.csv"], None),
    "stream": ("run loud.yaml --input wave=a.wav --stream S=700 --output y=y.npy", ["y.npy"], None),
    "pipe": ("run loud.yaml --input wave=- --stream S=700 --output y=y.npy --quiet", ["y.npy"], "a.wav"),
    "grad": ("grad fit.yaml --weights weights.safetensors --inputs points.safetensors --outputs g.safetensors", ["g.safetensors"], None),
    "train": ("train fit.yaml --inputs points.safetensors --save w.safetensors --quiet --threads 1", ["w.safetensors"], None),
    "resume": ("train fit.yaml --inputs points.safetensors --resume --save w.safetensors --quiet --threads 1", ["w.safetensors"], None),
    "page": ("run fit.yaml --weights weights.safetensors --inputs points.safetensors --page page.html --quiet", [], None),
    "check": ("check fit.yaml", [], None),
}


def begin(base, folder, scenario):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    if scenario == "resume": shutil.copytree(base + ".half", os.path.join(folder, "runs"))


def once(folder, scenario, kind=None, at=0, lasting=False):
    words, _, given = SCENARIOS[scenario]
    told = folder + ".told"
    if os.path.exists(told): os.remove(told)
    environment = {**os.environ, "FLOW_PLUGIN_INDEX": folder + ".index"}
    if kind: environment.update(LD_PRELOAD=shim, FAULTS_KIND=kind, FAULTS_AT=str(at), FAULTS_LASTING=str(int(lasting)), FAULTS_TOLD=told)
    stdin = open(os.path.join(folder, given), "rb") if given else subprocess.DEVNULL
    try:
        done = subprocess.run([flowrun, *words.split(" ")], cwd=folder, env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
        status, said = done.returncode, done.stderr.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        status, said = "does not end", (late.stderr or b"").decode(errors="replace")
    if given: stdin.close()
    calls, blocks = (int(x) for x in open(told).read().split()) if os.path.exists(told) else (0, 0)
    return status, said, calls, blocks


def read(path):
    try: return open(path, "rb").read()
    except FileNotFoundError: return None


def listing(folder):
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names)


def wrong(scenario, kind, folder, base, expected, status, said):
    """What is wrong with how it ended, or None."""
    if status not in (0, 1, 2): return f"status {status}"
    if status and not said.strip(): return f"status {status} without a word"
    if "AddressSanitizer" in said or "runtime error" in said: return "a sanitizer's finding"
    for name in SCENARIOS[scenario][1] if (scenario, kind) != ("pipe", "short") else []:  # what comes from a pipe ends when it ends
        found, before = read(os.path.join(folder, name)), read(os.path.join(base, name))
        if found is not None and found != expected[name] and found != before: return f"{name} is neither whole nor as it was"
        if status == 0 and found != expected[name]: return f"status 0, and {name} is not what it should be"
        if found is None and before is not None: return f"{name} is lost"
    for name in listing(folder):
        if name.endswith(".part") or ".part" in name: return f"{name} was left behind"
        if name.endswith(".safetensors") and name.startswith("runs/"):
            data = read(os.path.join(folder, name))
            size, = struct.unpack("<Q", data[:8]) if len(data) >= 8 else (1 << 62,)
            if size + 8 > len(data): return f"{name} is cut"
            ends = [t["data_offsets"][1] for n, t in json.loads(data[8:8 + size]).items() if n != "__metadata__"]
            if 8 + size + max(ends, default=0) != len(data): return f"{name} is cut"
    return None


def main():
    passed = failed = quiet = 0
    held = {}
    only = set(options.only.split(",")) - {""}
    with tempfile.TemporaryDirectory() as work:
        base, folder = os.path.join(work, "base"), os.path.join(work, "run")
        os.mkdir(base)
        make(base)
        begin(base, folder, "train")
        SCENARIOS["half"] = (SCENARIOS["train"][0] + " --steps 6", [], None)
        status, said, _, _ = once(folder, "half")
        if status: sys.exit(f"train: status {status}: {said}")
        shutil.copytree(os.path.join(folder, "runs"), base + ".half")
        for scenario in [s for s in SCENARIOS if s != "half" and (not only & set(SCENARIOS) or s in only)]:
            begin(base, folder, scenario)
            status, said, _, _ = once(folder, scenario)
            if status: sys.exit(f"{scenario}: status {status}: {said}")
            expected = {name: read(os.path.join(folder, name)) for name in SCENARIOS[scenario][1]}
            for kind in [k for k in KINDS if not only & set(KINDS) or k in only]:
                begin(base, folder, scenario)
                status, said, calls, blocks = once(folder, scenario, kind)
                if status or (kind == "memory" and not calls): sys.exit(f"{scenario} under the shim: status {status}, {calls} calls: {said}")
                step = max(1, calls / options.most) if options.most else 1
                numbers = sorted({min(calls, int(i * step) + 1) for i in range(int(calls / step))}) if calls else []
                ends = {}
                for at in numbers:
                    for lasting in (False, True):
                        begin(base, folder, scenario)
                        status, said, _, left = once(folder, scenario, kind, at, lasting)
                        why = wrong(scenario, kind, folder, base, expected, status, said)
                        ends[status] = ends.get(status, 0) + 1
                        if not why and left > blocks + 40: why = f"{left} blocks are held, {blocks} after an undisturbed run"
                        if why:
                            failed += 1
                            print(f"FAIL {scenario}: {kind} {at} of {calls}{', lasting' if lasting else ''}: {why}\n     {said.strip()[:300]}", flush=True)
                        else: passed += 1
                        if options.verbose and status: print(f"  {scenario} {kind} {at}{'+' if lasting else ''}: {status} [{left}] {said.strip()[:160]!r}", flush=True)
                print(f"{scenario}: {kind}, {len(numbers)} of {calls} calls: ends by status {ends}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


sys.exit(main())
