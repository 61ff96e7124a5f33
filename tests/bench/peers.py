# SPDX-License-Identifier: Apache-2.0
"""libflow beside its peers in one process. Candidates of a case take turns, round after round, each after a rest in which the thread pools
of the others go to sleep; the smallest time of all rounds counts: with one thread the processor time of the process (it leaves out what
other programs took, and charges threads beyond the one), with more the clock on the wall. Results are compared with the first peer's."""
import argparse, ctypes, json, os, subprocess, sys, time, warnings
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))
REST = 0.004


@dataclass
class Case:
    name: str
    candidates: dict         # name: function without arguments, or the exception that says why there is none
    goal: float = 0          # best peer's time over ours, at least
    most: float = 0          # or: seconds (of one item), at most
    flops: float = 0
    bytes: float = 0         # least traffic
    items: float = 1         # what a call does so many of
    unit: str = ""
    tolerance: float = 2e-3
    fixed: dict = field(default_factory=dict)  # times taken elsewhere


def attempt(make):
    try: return make()
    except Exception as e: return e  # a peer that is missing is reported


def probe(build):
    target, source = os.path.join(build, "probe.so"), os.path.join(HERE, "probe", "probe.c")
    if not os.path.exists(target) or os.path.getmtime(target) < os.path.getmtime(source):
        subprocess.run(["cc", "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", source, "-o", target], check=True)
    lib = ctypes.CDLL(target)
    lib.probe_gflops.restype = lib.probe_read.restype = ctypes.c_double
    return lib


def differs(expected, got, tolerance):
    import numpy as np
    a, b = (np.asarray(x.detach().numpy() if hasattr(x, "detach") else x, np.float64) for x in (expected, got))
    if a.size != b.size: return f"shape {b.shape}, expected {a.shape}"
    error = np.abs(a.ravel() - b.ravel()).max() / (np.abs(a).max() + 1e-12)
    return None if error <= tolerance else f"differs by {error:.1e}"


def measure(case, threads, lib, seconds):
    reference, live, notes = None, {}, {}
    for name, f in case.candidates.items():
        try:
            if isinstance(f, Exception): raise f
            out = f()
            start = time.perf_counter()
            f()
            once = time.perf_counter() - start
        except Exception as e:
            notes[name] = f"{type(e).__name__}: {e}"[:120]
            continue
        if out is not None and reference is None: reference = out
        elif out is not None:
            note = differs(reference, out, case.tolerance)
            if note: notes[name] = note
        live[name] = dict(f=f, inner=max(1, int(0.01 / max(once, 1e-7))), once=once, times=[])
    flops, reads = [lib.probe_gflops()], [lib.probe_read()]
    cpu = threads == 1
    clock = time.process_time if cpu else time.perf_counter
    end = time.perf_counter() + seconds * max(len(live), 1)
    rounds = 0
    while live and (rounds < 3 or (time.perf_counter() < end and rounds < 200)):
        for v in live.values():
            f = v["f"]
            time.sleep(REST)
            if v["once"] < 0.05: f()
            start = clock()
            for _ in range(v["inner"]): f()
            v["times"].append((clock() - start) / v["inner"])
        rounds += 1
        if rounds % 8 == 0: flops.append(lib.probe_gflops()), reads.append(lib.probe_read())
    times = {n: min(v["times"]) for n, v in live.items()} | case.fixed
    return dict(case=case, times=times, notes=notes, peak=max(flops) * threads, read=max(reads), rounds=rounds)


def si(x):
    for scale, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "us")):
        if x >= scale: return f"{x / scale:.3g} {unit}"
    return f"{x * 1e9:.3g} ns"


def row(r):
    """One row of the table: case, our time, rate and share of the limit, the peers' times over ours, goal, whether it is met."""
    case, times = r["case"], dict(r["times"])
    ours = times.pop("libflow", None)
    if ours is None: return [case.name, "failed: " + r["notes"].get("libflow", "no candidate"), "", "", "", ""]
    rate = []
    if case.flops: rate.append(f"{case.flops / ours * 1e-9:.3g} GFLOP/s, {100 * case.flops / ours * 1e-9 / r['peak']:.0f}% of FMA")
    if case.bytes: rate.append(f"{case.bytes / ours * 1e-9:.3g} GB/s, {100 * case.bytes / ours * 1e-9 / r['read']:.0f}% of DRAM")
    if case.unit: rate.append(f"{si(ours / case.items)} {case.unit}")
    ratio = "; ".join(f"{n} {t / ours:.2f}" for n, t in sorted(times.items(), key=lambda x: x[1]))
    notes = "; ".join(f"{n}: {t}" for n, t in r["notes"].items())
    goal, met = "", ""
    if case.most: goal, met = f"<= {si(case.most)}", "yes" if ours / case.items <= case.most else f"no, {ours / case.items / case.most:.2f} times that"
    if case.goal and times:
        best = min(times.values()) / ours
        goal += (", " if goal else "") + f">= {case.goal}x best"
        said = "yes" if best >= case.goal else f"no, {best:.2f}x"
        met = said if not met else met if met == said else f"{met}; {said}"
    return [case.name, si(ours), "; ".join(rate), ratio + (f" ({notes})" if notes else ""), goal, met]


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--build", default="build/release")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--only", default="", help="words, ',' between them: cases whose name holds one")
    ap.add_argument("--peers", default="torch,onnxruntime,openvino", help="which of them")
    ap.add_argument("--compile", action="store_true", help="torch.compile, too (its compilation takes minutes)")
    ap.add_argument("--quick", action="store_true")
    ap.add_argument("--json")
    a = ap.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"): os.environ[name] = str(a.threads)
    warnings.filterwarnings("ignore")
    sys.path.insert(0, HERE)
    import cases
    lib, words, done = probe(a.build), [w for w in a.only.split(",") if w], []
    bench = cases.Bench(os.path.abspath(a.build), a.threads, a.peers.split(","), a.compile)
    head = ["case", "libflow", "rate", "peers' time over ours", "goal", "met"]
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head), flush=True)
    for name, make in cases.all_cases():
        if words and not any(w in name for w in words): continue
        case = attempt(lambda: make(bench))
        if isinstance(case, Exception):
            print(f"| {name} | failed: {type(case).__name__}: {case} | | | | |", flush=True)
            continue
        r = measure(case, a.threads, lib, 0.3 if a.quick else 1.5)
        print("| " + " | ".join(row(r)) + " |", flush=True)
        done.append(dict(name=case.name, times=r["times"], notes=r["notes"], peak=r["peak"], read=r["read"], rounds=r["rounds"], load=os.getloadavg()))
    if done: print(f"\nPeak {max(d['peak'] for d in done):.0f} GFLOP/s, DRAM read {max(d['read'] for d in done):.1f} GB/s, load {os.getloadavg()[0]:.1f}, "
                   f"{os.cpu_count()} cores, {a.threads} thread(s).")
    if a.json: json.dump(done, open(a.json, "w"), indent=1)


if __name__ == "__main__": main()
