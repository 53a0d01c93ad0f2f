#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws results of edgequant_bench: a roofline of the products, and bars of their speeds, several
runs side by side (two devices, two commits).

    edgequant_bench --benchmark_filter=product --benchmark_out=this.json
    plot.py this.json [other.json ...] [--out products.svg] [--threads 1] [--shape 4096x4096]
"""
import argparse
import json
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"q4_0": "#c9860a", "q5_0": "#2f8f46", "q8_0": "#2f6591", "i8": "#a5476a", "f16": "#5638aa"}
MARKERS = "osD^vP*X"


def fail(file, problem):
    sys.exit(f"{file}: {problem}")


def read(file):
    """The run's context, and a row for each product: format, shape, vectors, threads, counters."""
    try:
        run = json.loads(pathlib.Path(file).read_text())
        context, rows = run["context"], []
        for entry in run["benchmarks"]:
            parts = entry["name"].split("/")
            if parts[0] != "product" or entry.get("run_type") == "aggregate":
                continue
            rows.append({"format": parts[1], "shape": parts[2], "vectors": int(parts[3]),
                         "threads": int(parts[4].removeprefix("threads:")), "ops": entry["ops"] / 1e9,
                         "weights": entry["weights"] / 1e9, "share": entry["share"]})
    except (OSError, ValueError, KeyError, IndexError, TypeError) as problem:
        fail(file, f"no result of edgequant_bench ({problem})")
    if not rows:
        fail(file, "no products in it: run with --benchmark_filter=product")
    return context, rows


def limit(context, name, threads):
    """A yardstick of the context, in 10^9 a second; None where the run has none."""
    text = context.get(f"{name}, {'one core' if threads == 1 else 'all cores'}")
    return float(text.split()[0]) if text else None


def roofline(axes, runs, threads):
    for (name, context, rows), marker in zip(runs, MARKERS):
        memory = limit(context, "memory read", threads)
        for unit in ("dot products of 8 bits", "products of matrices"):
            peak = limit(context, unit, threads)
            if not memory or not peak:
                continue
            x = [0.5, peak / memory, 4096]
            axes.plot(x, [min(peak, memory * v) for v in x], color="#888888", linewidth=1,
                      linestyle="-" if marker == "o" else "--", zorder=1)
            text = f"{name}: {memory:.0f} GB/s, {unit.removesuffix(' of 8 bits')} {peak:.0f} GOP/s"
            axes.annotate(text, (x[2], peak), xytext=(0, 4), ha="right",
                          textcoords="offset points", fontsize=8, color="#555555")
        for row in rows:
            # Operations a byte of weights: all that a product must take from memory.
            axes.scatter(row["ops"] / row["weights"], row["ops"], s=22, marker=marker, zorder=2,
                         color=COLOURS.get(row["format"], "#333333"))
    axes.set(xscale="log", yscale="log", xlabel="operations a byte of weights", ylabel="10⁹ operations a second",
             title="Roofline")
    seen = [f for f in COLOURS if any(r["format"] == f for _, _, rows in runs for r in rows)]
    axes.legend([plt.Line2D([], [], color=COLOURS[f], marker="o", linestyle="") for f in seen], seen,
                loc="lower right", fontsize=8)


def bars(axes, runs, shape):
    keys = sorted({(r["format"], r["vectors"]) for _, _, rows in runs for r in rows if r["shape"] == shape},
                  key=lambda k: (list(COLOURS).index(k[0]) if k[0] in COLOURS else 9, k[1]))
    width = 0.8 / len(runs)
    for i, (name, _, rows) in enumerate(runs):
        found = {(r["format"], r["vectors"]): r for r in rows if r["shape"] == shape}
        at = [k + (i - (len(runs) - 1) / 2) * width for k in range(len(keys))]
        heights = [found[key]["share"] if key in found else 0 for key in keys]
        drawn = axes.bar(at, heights, width * 0.92, label=name, alpha=1 - 0.5 * i / len(runs),
                         color=[COLOURS.get(key[0], "#333333") for key in keys])
        axes.bar_label(drawn, [f"{h:.2f}" if h else "" for h in heights], fontsize=7, padding=1)
    axes.axhline(1, color="#888888", linewidth=1)
    axes.set_xticks(range(len(keys)), [f"{f}\n{n}" for f, n in keys], fontsize=7)
    axes.set(ylabel="share of memory (1 vector) or dot products", title=f"{shape}, by format and number of vectors")
    if len(runs) > 1:
        axes.legend(fontsize=8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN.json", help="what --benchmark_out wrote")
    parser.add_argument("--out", default="products.svg", help="the picture: .svg, .png or .pdf (products.svg)")
    parser.add_argument("--threads", type=int, default=1, help="which runs to draw (1)")
    parser.add_argument("--shape", default="4096x4096", help="rows x columns of the bars (4096x4096)")
    a = parser.parse_args()
    runs = []
    for file in a.runs:
        context, rows = read(file)
        rows = [r for r in rows if r["threads"] == a.threads]
        if not any(r["shape"] == a.shape for r in rows):
            fail(file, f"no product of shape {a.shape} on {a.threads} threads")
        runs.append((pathlib.Path(file).stem, context, rows))
    plt.rcParams["svg.hashsalt"] = "edgequant"  # the same picture for the same numbers
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.6), width_ratios=(1, 1.5))
    roofline(left, runs, a.threads)
    bars(right, runs, a.shape)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(a.out, metadata={"Date": None} if a.out.endswith(".svg") else None)


if __name__ == "__main__":
    main()
