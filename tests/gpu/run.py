#!/usr/bin/env python3
"""What only a GPU can tell: is it right, and how fast is it.

Needs the two programs, Python, and an NVIDIA GPU with its driver, NVRTC and cuBLAS; no Rust, no network, no other package.
ncu, compute-sanitizer and PyTorch are used where they are, and said to be missing where they are not. Prints one table last.

    cargo build --release -p shadowkv-runtime -p shadowkv-codegen
    python3 tests/gpu/run.py --programs target/release

`--dry-run` does the same steps on the emulated GPU, small, so that the script itself can be tested anywhere.
"""

import argparse
import array
import csv
import io
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "golden" / "models"
PARTS = ["facts", "conformance", "sanitizer", "decoder", "counters", "attention", "speed", "tuning"]
# No kernel norms queries and keys per head.
CPU_ONLY = {"qwen3-8b"}
KERNELS = ["landmark_score", "select_chunks", "gather_values", "reconstruct_keys", "sparse_attention"]
# What one pass gathers: for a second one ncu would keep a copy of all memory, the host's pinned values too.
METRICS = {
    "gpu__time_duration.sum": "us",
    "dram__bytes_read.sum": "read MB",
}


class Run:
    """The programs, the device, and the table."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.device = "emulated" if arguments.dry_run else arguments.device
        self.rows = []
        self.failed = False
        self.scratch = Path(tempfile.mkdtemp(prefix="shadowkv-gpu-"))
        self.environment = {**os.environ, "SHADOWKV_CACHE_DIR": str(self.scratch / "cache")}
        if arguments.dry_run:
            # A compiler that is installed already is not fetched again.
            self.environment = dict(os.environ)

    def row(self, part, what, figure, verdict=""):
        self.rows.append((part, what, figure, verdict))
        self.failed |= verdict == "FAILED"
        print(f"{part}: {what}: {figure} {verdict}", flush=True)

    def program(self, name):
        return str(Path(self.arguments.programs) / name)

    def call(self, part, what, command, timeout=600, quiet=False):
        """The output of a command; none, and a failed row, where it did not end well."""
        begin = time.monotonic()
        try:
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            self.row(part, what, str(error), "FAILED")
            return None
        seconds = time.monotonic() - begin
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no message"]
            self.row(part, what, f"exit code {done.returncode}: {last[0][:200]}", "FAILED")
            return None
        if not quiet:
            self.row(part, what, f"{seconds:.1f} s", "ok")
        return done.stdout

    def runtime(self, part, what, arguments, **options):
        return self.call(part, what, [self.program("shadowkv-runtime"), *arguments], **options)

    def codegen(self, part, what, arguments, **options):
        return self.call(part, what, [self.program("shadowkv-codegen"), *arguments], **options)

    def table(self):
        widths = [max(len(str(row[column])) for row in self.rows) for column in range(3)]
        print()
        for part, what, figure, verdict in self.rows:
            print(f"| {part:{widths[0]}} | {what:{widths[1]}} | {figure:{widths[2]}} | {verdict} |")


def tensor(path, name):
    """A tensor of a safetensors file: its shape, and its numbers."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + length + begin)
        numbers = array.array({"F32": "f", "I64": "q"}[entry["dtype"]])
        numbers.frombytes(file.read(end - begin))
    return entry["shape"], numbers


def facts(run):
    """The device put to the test; the kernels of a model compiled cold, then found."""
    out = run.runtime("facts", "doctor", ["doctor", "--device", run.device, "--format", "json"], quiet=True)
    if out:
        report = json.loads(out)
        checks = report.get("checks", [])
        bad = [check["name"] for check in checks if check["outcome"]["kind"] != "passed"]
        run.row("facts", "self test", f"{len(checks)} checks, not ok: {', '.join(bad) or 'none'}", "FAILED" if bad else "ok")
    spec = "smollm2-135m" if run.arguments.dry_run else "llama-3.1-8b"
    arch = ["--arch", "sm_80"] if run.arguments.dry_run else []
    for form in ([], ["--ptx"]):
        kind = "PTX" if form else "machine code"
        for start in ("cold", "warm"):
            compile_ = ["compile", "--package", spec, "--quiet", *arch, *form]
            run.runtime("facts", f"{kind} of {spec}, {start}", compile_)


def conformance(run):
    """Every kernel of the specs against its oracle, on the device."""
    specs = ["smollm2-135m"] if run.arguments.dry_run else run.arguments.specs
    device = [] if run.arguments.dry_run else ["--device", run.device]
    kernels = ["--kernel", "landmark_score"] if run.arguments.dry_run else []
    for spec in specs:
        path = str(ROOT / "model-specs" / f"{spec}.yaml")
        run.codegen("conformance", spec, ["verify", path, *device, *kernels, "--quiet"], timeout=900)


def sanitizer(run):
    """Whole steps of a small model under compute-sanitizer."""
    found = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if run.arguments.dry_run or not found:
        run.row("sanitizer", "compute-sanitizer", "not here", "skipped")
        return
    bench = [run.program("shadowkv-runtime"), "bench", "--device", run.device, "--spec", "smollm2-135m"]
    bench += ["--context", "2k", "--batch", "2", "--steps", "2", "--no-graphs", "--turns", "on", "--quiet"]
    for tool in ("memcheck", "racecheck"):
        command = [found, "--tool", tool, "--error-exitcode", "9", *bench]
        run.call("sanitizer", tool, command, timeout=900)


def decoder(run):
    """Logits of tiny models of every family beside those that transformers computed in f32."""
    names = sorted(path.name for path in MODELS.iterdir() if (path / "golden.safetensors").exists())
    names = [name for name in names if name not in CPU_ONLY]
    for name in names[:1] if run.arguments.dry_run else names:
        golden = MODELS / name / "golden.safetensors"
        (tokens, vocab), expected = tensor(golden, "logits")
        _, ids = tensor(golden, "input_ids")
        if run.arguments.dry_run:
            tokens = 24
        out = run.scratch / f"{name}.safetensors"
        # The kernels of a model that is nobody's: its spec, and what is emitted for it.
        spec, packages = run.scratch / f"{name}.yaml", run.scratch / "packages"
        imported = ["import", str(MODELS / name / "config.json"), "-o", str(spec)]
        emitted = [str(spec), "--out-dir", str(packages), "--no-compile"]
        if any(run.codegen("decoder", name, command, quiet=True) is None for command in (imported, emitted)):
            continue
        call = ["logits", "--model", str(MODELS / name), "--device", run.device, "--out", str(out), "--quiet"]
        call += ["--package", str(packages / name)]
        call += ["--input-ids", ",".join(str(own) for own in ids[:tokens])]
        if run.runtime("decoder", name, call, quiet=True) is None:
            continue
        _, found = tensor(out, "logits")
        pairs = [(found[i], expected[i]) for i in range(tokens * vocab)]
        largest = max(abs(own) for _, own in pairs)
        worst = max(abs(a - b) for a, b in pairs)
        mean = math.sqrt(sum((a - b) ** 2 for a, b in pairs) / len(pairs))
        # Twelve roundings to bf16 a layer, and one of the logits, all of one sign; on average their root.
        config = json.loads((MODELS / name / "config.json").read_text())
        layers = config.get("num_hidden_layers") or config["num_layers"]
        roundings = 12 * layers + 1
        right = worst <= roundings * 2**-9 * largest and mean <= math.sqrt(roundings) * 2**-9 * largest
        figure = f"off by {worst:.3f} at most, {mean:.4f} in the mean, of {largest:.1f}"
        run.row("decoder", name, figure, "ok" if right else "FAILED")


def counters(run):
    """What the hardware counts of the method's kernels at the size of a model."""
    found = shutil.which("ncu") or shutil.which("/usr/local/cuda/bin/ncu")
    if run.arguments.dry_run or not found:
        run.row("counters", "ncu", "not here", "skipped")
        return
    for spec, batch in (("llama-3.1-8b", "12"), ("glm4", "24")):
        bench = [run.program("shadowkv-runtime"), "bench", "--device", run.device, "--spec", spec, "--context", "122k"]
        bench += ["--batch", batch, "--steps", "2", "--hit-rate", "0.6", "--attention", "shadowkv", "--no-graphs", "--quiet"]
        names = "regex:" + "|".join(KERNELS)
        command = [found, "--clock-control", "none", "--csv", "--metrics", ",".join(METRICS)]
        command += ["-k", names, "-s", "400", "-c", "15", *bench]
        out = run.call("counters", f"ncu, {spec}", command, timeout=600, quiet=True)
        if out is None:
            continue
        lines = [line for line in out.splitlines() if line.startswith('"')]
        totals = {}
        for line in csv.DictReader(io.StringIO("\n".join(lines))):
            kernel = next((own for own in KERNELS if own in line["Kernel Name"]), None)
            metric = METRICS.get(line["Metric Name"])
            if kernel and metric:
                scale = {"ns": 1e-3, "ms": 1e3, "byte": 1e-6, "Kbyte": 1e-3, "Gbyte": 1e3}.get(line["Metric Unit"], 1.0)
                value = float(line["Metric Value"].replace(",", "")) * scale
                totals.setdefault(kernel, {}).setdefault(metric, []).append(value)
        for kernel, metrics in totals.items():
            middle = {name: sorted(values)[len(values) // 2] for name, values in metrics.items()}
            rate = middle.get("read MB", 0) / max(middle.get("us", 0), 1e-9)
            figure = ", ".join(f"{value:.1f} {name}" for name, value in middle.items())
            run.row("counters", f"{spec} x {batch}: {kernel}", f"{figure}, {rate:.2f} TB/s read")


def attention(run):
    """PyTorch's attention of one token over a full cache, for the same shapes as the program's."""
    try:
        import torch
        from torch.nn.functional import scaled_dot_product_attention
    except ImportError:
        run.row("attention", "PyTorch", "not here", "skipped")
        return
    if run.arguments.dry_run or not torch.cuda.is_available():
        run.row("attention", "PyTorch", "no GPU", "skipped")
        return
    for batch, heads, ratio, tokens in ((4, 8, 4, 124928), (6, 4, 8, 124928)):
        shape = (batch, heads, tokens, 128)
        keys, values = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        query = torch.randn((batch, heads * ratio, 1, 128), device="cuda", dtype=torch.bfloat16)
        times = []
        for _ in range(12):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            scaled_dot_product_attention(query, keys, values, enable_gqa=True)
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1e3)
        middle = sorted(times)[len(times) // 2]
        rate = 2 * keys.nbytes / middle / 1e6
        run.row("attention", f"PyTorch, {batch} x {heads} heads x {tokens}", f"{middle:.0f} us, {rate:.2f} TB/s")
        del keys, values


def speed(run):
    """Decode steps with made-up weights, full attention and the method at the largest batches that fit."""
    cases = [
        ("llama-3.1-8b", "60k", "8", "24"),
        ("llama-3.1-8b", "122k", "4", "12"),
        ("glm4", "122k", "6", "24"),
    ]
    if run.arguments.dry_run:
        cases = [("smollm2-135m", "1k", "1", "2")]
    for spec, context, full, shadow in cases:
        best = {}
        for kind, batch in (("full", full), ("shadowkv", shadow)):
            call = ["bench", "--device", run.device, "--spec", spec, "--context", context, "--batch", batch, "--quiet"]
            call += ["--attention", kind, "--hit-rate", "0.6", "--steps", "2" if run.arguments.dry_run else "16"]
            call += ["--no-graphs"] if run.arguments.dry_run else []
            out = run.runtime("speed", f"{spec}, {context}, {kind}", [*call, "--format", "json"], quiet=True, timeout=900)
            if out is None:
                continue
            row = json.loads(out)["rows"][0]
            if row["error"]:
                run.row("speed", f"{spec}, {context}, {kind} x {batch}", row["error"][:100], "skipped")
                continue
            best[kind] = row["tokens_per_second"]
            fetched = (row["fetched_bytes"] or 0) / row["step_ms"][0] / 1e6
            figure = f"{row['step_ms'][0]:.2f} ms, {row['tokens_per_second']:.1f} tokens/s"
            figure += f", {fetched:.1f} GB/s from the host" if fetched else ""
            run.row("speed", f"{spec}, {context}, {kind} x {batch}", figure)
        if len(best) == 2 and not run.arguments.dry_run:
            run.row("speed", f"{spec}, {context}", f"{best['shadowkv'] / best['full']:.2f} times full attention")
        if not run.arguments.dry_run:
            predict = ["bench", "--predict", "--gpu", run.arguments.gpu, "--spec", spec, "--context", context]
            predict += ["--batch", f"{full},{shadow}", "--format", "json"]
            out = run.runtime("speed", f"{spec}, {context}, predicted", predict, quiet=True)
            wanted = {("full", int(full)), ("shadowkv", int(shadow))}
            for row in json.loads(out)["rows"] if out else []:
                if (row["attention"], row["batch"]) in wanted:
                    what = f"{spec}, {context}, {row['attention']} x {row['batch']}, predicted"
                    run.row("speed", what, f"{row['predicted_tokens_per_second']:.1f} tokens/s")


def tuning(run):
    """Tiles by the clock, where `--tune DIR` says where their files go."""
    if not run.arguments.tune or run.arguments.dry_run:
        run.row("tuning", "tiles by the clock", "not asked for: --tune DIR", "skipped")
        return
    for spec in run.arguments.specs:
        path = str(ROOT / "model-specs" / f"{spec}.yaml")
        call = ["tune", path, "--judge", "measured", "--out-dir", run.arguments.tune, "--quiet"]
        run.codegen("tuning", spec, call, timeout=1200)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", default="target/release", help="folder of shadowkv-runtime and shadowkv-codegen")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--gpu", default="h100", help="what `bench --predict` calls the GPU")
    parser.add_argument("--specs", nargs="+", default=["glm4", "llama-3.1-8b"], help="specs to verify and to tune")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--tune", metavar="DIR", help="folder for tuning files")
    parser.add_argument("--dry-run", action="store_true", help="on the emulated GPU, small")
    run = Run(parser.parse_args())
    for part in run.arguments.only:
        globals()[part](run)
    run.table()
    shutil.rmtree(run.scratch, ignore_errors=True)
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
