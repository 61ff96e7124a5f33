# SPDX-License-Identifier: Apache-2.0
"""Layers on `--device cuda`, one after another in a graph, beside the same in PyTorch on the same GPU where this Python has it.

    python3 tests/bench/layers.py FLOWRUN [--small]

Prints rows of a Markdown table. A layer's time is the difference of nine in a row and one, over eight: copies to and from the GPU cancel.
PyTorch is timed by events in turn with libflow, eager (cuDNN, cuBLAS) and by torch.compile. --small: sizes for the emulation.
"""
import json, os, subprocess, sys, tempfile

flowrun, small = sys.argv[1], "--small" in sys.argv[2:]
MANY, TURNS = 9, 1 if small else 3
try:
    import torch
    peers = torch.cuda.is_available()
except ImportError:
    peers = False


def size(large, little):
    return little if small else large


T, D = size(512, 8), size(512, 32)
LAYERS = {  # name: node, shape of its input and its result
    "linear": ("{op: linear, in: x, with: {units: %d}}" % size(1024, 32), (size(4096, 16), size(1024, 32))),
    "layer_norm": ("{op: layer_norm, in: x}", (size(16384, 16), size(1024, 32))),
    "softmax": ("{op: softmax, in: x}", (size(16384, 16), size(1024, 32))),
    "gelu": ("{op: gelu, in: x}", (size(16384, 16), size(1024, 32))),
    "attention": ("{op: attention, in: [x, x, x], with: {heads: 8, causal: true}}", (size(16, 1), size(1024, 8), D)),
    "lstm": ("{op: lstm, in: x, with: {units: %d}}" % D, (size(32, 2), T, D)),
    "gru": ("{op: gru, in: x, with: {units: %d}}" % D, (size(32, 2), T, D)),
    "conv2d": ("{op: conv2d, in: x, with: {units: %d, kernel: 3, padding: 1}}" % size(64, 4), (size(32, 1), size(64, 4), size(56, 6), size(56, 6))),
    "fsmn": ("{op: fsmn, in: x, with: {left: 19, right: 20}}", (size(32, 1), T, D)),
}


def graph(folder, name):
    node, shape = LAYERS[name]
    with open(os.path.join(folder, name + "_layer.yaml"), "w") as file:
        file.write("flow: 1\nname: layer\ninputs:\n  x: {dtype: f32, shape: %s}\nnodes:\n  y: %s\noutputs: {y: y}\n" % (list(shape), node))
    path = os.path.join(folder, name + ".yaml")
    with open(path, "w") as file:
        file.write("flow: 1\nname: %s\nvars: {n: 1}\ninputs:\n  x: {dtype: f32, shape: %s}\ngraphs:\n  layer: {file: %s_layer.yaml}\n"
                   "nodes:\n  y: {graph: layer, in: x, repeat: \"${n}\"}\noutputs: {y: y}\n" % (name, list(shape), name))
    return path


def ours(path, folder, *more):
    """us a layer, of the least times"""
    out = os.path.join(folder, "bench.json")
    done = subprocess.run([flowrun, "bench", path, "--device", "cuda", "--against", "n=%d" % MANY, "--rounds", "3" if small else "30",
                           "--json", out, *more], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:])
    one, many = (c["seconds"]["least"] for c in json.load(open(out))["candidates"][:2])
    return (many - one) / (MANY - 1) * 1e6


def theirs(name):
    """functions of x: eager, compiled; and x"""
    shape = LAYERS[name][1]
    units = shape[-1]

    class Attention(torch.nn.Module):  # with its four products, as the operator has them
        def __init__(self):
            super().__init__()
            self.made, self.out = torch.nn.Linear(units, 3 * units, bias=False), torch.nn.Linear(units, units, bias=False)

        def forward(self, x):
            q, k, v = self.made(x).view(x.shape[0], x.shape[1], 3, 8, -1).permute(2, 0, 3, 1, 4)
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(y.transpose(1, 2).reshape(x.shape))

    class First(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x)[0]

    class Memory(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.taps = torch.nn.Conv1d(units, units, 40, groups=units, bias=False)

        def forward(self, x):
            return x + self.taps(torch.nn.functional.pad(x.transpose(1, 2), (19, 20))).transpose(1, 2)

    nn = torch.nn
    net = {"linear": lambda: nn.Linear(units, units), "layer_norm": lambda: nn.LayerNorm(units), "softmax": lambda: nn.Softmax(-1),
           "gelu": lambda: nn.GELU(), "attention": Attention, "lstm": lambda: First(nn.LSTM(units, units, batch_first=True)),
           "gru": lambda: First(nn.GRU(units, units, batch_first=True)),
           "conv2d": lambda: nn.Conv2d(shape[1], shape[1], 3, padding=1), "fsmn": Memory}[name]().cuda().eval()
    return [net, torch.compile(net)], torch.randn(shape, device="cuda")


def timed(net, x):
    with torch.no_grad():
        for _ in range(3):
            net(x)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        least = float("inf")
        for _ in range(20):
            start.record()
            y = x
            for _ in range(MANY):
                y = net(y)
            end.record()
            torch.cuda.synchronize()
            least = min(least, start.elapsed_time(end) * 1e3 / MANY)
    return least


def shown(times):
    return " | ".join("-" if t is None else "%.1f" % t for t in times)


failed = 0
if peers:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as libflow: whole f32
print("| layer | x | libflow, us | call by call | PyTorch eager | compiled | best of PyTorch over libflow |")
print("| --- | --- | --- | --- | --- | --- | --- |")
with tempfile.TemporaryDirectory() as folder:
    for name in LAYERS:
        path = graph(folder, name)
        best = [None] * 4
        try:
            nets, x = theirs(name) if peers else ([], None)
            for _ in range(TURNS):
                now = [ours(path, folder), ours(path, folder, "--no-capture")] + [timed(net, x) for net in nets]
                best = [n if b is None else min(b, n) for b, n in zip(best, now + [None] * (4 - len(now)))] if nets else \
                    [n if b is None else min(b, n) for b, n in zip(best[:2], now)] + [None, None]
        except Exception as error:  # a layer that does not run is a row, not the end of the table
            failed += 1
            print("| %s | %s | FAIL: %s | | | | |" % (name, list(LAYERS[name][1]), str(error).replace("\n", " ").replace("|", "/")[:300]))
            continue
        ratio = "%.2f" % (min(b for b in best[2:] if b is not None) / best[0]) if nets and best[0] > 0 else "-"
        print("| %s | %s | %s | %s |" % (name, list(LAYERS[name][1]), shown(best), ratio))
        sys.stdout.flush()
sys.exit(failed > 0)
