"""Ways to fine-tune, compared on photographs by grouped cross-validation.

``ROADWORK_DATA=… python -m benchmarks.methods --out DIR`` trains every run of
``benchmarks.methods_plan`` on a folder of photographs: three seeds, three folds of whole groups,
and within the training folds a group-disjoint part that chooses the pass, the learning rate (from
the first seed's folds) and the temperature. What is held out is answered once by every run.

Cells (a run with a rate, seed and fold) are computed by processes that share one GPU, and are
appended to ``cells.jsonl`` as they come; the same command goes on where it was stopped. Tables go
to ``methods.md`` and ``methods.json``. ``--quick`` is there to see that it runs.

The selection part of a fold is held out in another fold: the choice among three rates has seen it,
the weights and the pass of a cell have not.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.methods_cells import compute
from benchmarks.methods_figures import RESAMPLES, Results, markdown, summarise
from benchmarks.methods_plan import (
    RUNS,
    TABLES,
    Cell,
    Plan,
    photograph_source,
    views_file,
    wanted_cells,
)
from benchmarks.photographs import Photographs, decode, read_manifest
from benchmarks.vit_start import train_vit
from roadwork.data.views import Tiles

_LEAST_UNSEEN = 30  # images: fewer of a source are too few to judge by


def compute_all(plan: Plan, parts: list[str], out: Path, workers: int, limit: float) -> Results:
    """Compute what is missing, as far as the time goes, and give all that is done.

    Where a process is killed, that is said, and what is done is given.
    """
    start = time.monotonic()
    photographs = prepare(plan, parts)
    results = Results(plan, photographs)
    file = out / "cells.jsonl"
    read_cells(file, plan, results)
    sources = unseen_sources(photographs)
    say(start, f"{len(photographs.labels)} photographs, {len(results.cells)} cells are done")
    waits_for_vit = not Path(plan.vit_weights).exists()
    failed: dict[Cell, str] = {}
    longest = 0.0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool, file.open("a") as log:
        running: dict[Future[Any], Cell | None] = {}
        if waits_for_vit and "vit" in parts and limit > 0:
            running[pool.submit(train_vit, plan, out / "vit_start.json")] = None
        try:
            while True:
                late = time.monotonic() - start + 1.2 * longest > limit
                wanted = wanted_cells(parts, plan, sources, results.chosen)
                for cell in [] if late else dict.fromkeys(wanted):
                    if len(running) >= workers:
                        break
                    known = cell in results.cells or cell in failed or cell in running.values()
                    if known or (RUNS[cell.run].vit and waits_for_vit):
                        continue
                    running[pool.submit(compute, plan, cell)] = cell
                if not running:
                    break
                broken: BrokenProcessPool | None = None
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    cell = running.pop(future)
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        broken = error
                    elif error is not None:
                        say(start, f"FAILED {cell}: {error}")
                        if cell is not None:
                            failed[cell] = str(error)
                    elif cell is None:
                        waits_for_vit = False
                        say(start, "the vision transformer is trained")
                    else:
                        found = future.result()
                        results.cells[cell] = found
                        log.write(json.dumps(found) + "\n")
                        log.flush()
                        longest = max(longest, found["seconds"])
                        say(start, told(found, len(results.cells)))
                if broken is not None:
                    raise broken
        except BrokenProcessPool:
            say(
                start,
                "a process was killed, perhaps for lack of memory: the tables are of what is done; "
                "the same command computes the rest, --workers says with how many processes",
            )
    if failed:
        say(start, f"{len(failed)} cells failed, such as {next(iter(failed.items()))}")
    return results


def prepare(plan: Plan, parts: list[str]) -> Photographs:
    """Read and decode the photographs, once; the manifest names files, so it is made anew."""
    from roadwork.settings import parse_settings, resolve

    folder = Path(plan.scratch, "manifest")
    folder.mkdir(parents=True, exist_ok=True)
    cores = len(os.sched_getaffinity(0))
    data = {"sources": [photograph_source(plan)], "workers": cores}
    settings = resolve(parse_settings({"runs": plan.scratch, "data": data}))
    read_manifest(settings, plan.quick).save(folder)
    photographs = Photographs.load(folder, plan.folds)
    runs = [RUNS[run] for part in parts for run in TABLES[part].runs]
    layouts: set[Tiles] = {run.views.get("tiles", 9) or 9 for run in runs}
    for tiles in layouts:
        file = views_file(plan, photographs.fingerprint, tiles)
        decode(photographs.table, plan.size, tiles, file, cores)
    return photographs


def unseen_sources(photographs: Photographs) -> list[str]:
    """Sources without works, and with enough images to judge by."""
    labels, sources = photographs.labels, photographs.sources
    return [
        str(one)
        for one in np.unique(sources)
        if not labels[sources == one].any() and (sources == one).sum() >= _LEAST_UNSEEN
    ]


def read_cells(file: Path, plan: Plan, results: Results) -> None:
    """Take the cells of an earlier command; the first line says what they belong to.

    A line that was cut off when the machine stopped is computed again.
    """
    head = {"photographs": results.photographs.fingerprint, **plan.measured}
    if not file.exists():
        file.write_text(json.dumps(head) + "\n")
        return
    lines = file.read_text().splitlines()
    if json.loads(lines[0]) != head:
        raise SystemExit(
            f"{file} belongs to {lines[0]}, not to {json.dumps(head)}: use another --out"
        )
    whole = [lines[0]]
    for line in lines[1:]:
        try:
            found = json.loads(line)
        except json.JSONDecodeError:
            continue
        whole.append(line)
        results.cells[Cell(**found["cell"])] = found
    file.write_text("\n".join(whole) + "\n")


def told(found: Mapping[str, Any], count: int) -> str:
    """One line about a cell."""
    losses = " ".join(f"{loss:.3f}" for loss in found["select_nll"])
    cell = Cell(**found["cell"])
    about = f"{cell.run}, rate {cell.rate:g}, seed {cell.seed}, fold {cell.fold} {cell.unseen}"
    memory = "" if found["gigabytes"] is None else f", {found['gigabytes']} GB"
    return f"{count}: {about}: {found['seconds']} s{memory}; pass {found['chosen']} of [{losses}]"


def say(start: float, text: str) -> None:
    """One line of progress."""
    print(f"{time.monotonic() - start:5.0f} s: {text}", flush=True)


def report(results: Results, parts: list[str], out: Path) -> str:
    """Write ``methods.json`` and ``methods.md``; gives the latter."""
    plan, tables, texts = results.plan, [], []
    sources = unseen_sources(results.photographs)
    for part in parts:
        table = TABLES[part]
        for unseen in sources if table.unseen else ("",):
            tables.append(summarise(results, part, table, unseen))
            texts.append(markdown(table, tables[-1]))
    start = out / "vit_start.json"
    facts = json.loads(start.read_text()) if start.exists() else None
    count, groups = len(results.photographs.labels), len(np.unique(results.photographs.groups))
    note = (
        f"{count} photographs in {groups} groups, {plan.folds} folds by group, {plan.size} px, up "
        f"to {plan.epochs} passes (patience {plan.patience}) of batches of {plan.batch}, "
        f"precision {plan.precision}; pass 0, the frozen probe, takes part in the choice, and "
        "`probe kept` counts how often it was chosen, so that training changed nothing. "
        f"Intervals of 95 %: bootstrap over groups ({RESAMPLES} resamples, alike for all rows), "
        "seeds averaged, trained models fixed. "
        "AUROC of all folds together compares logits of different models; "
        "`within source and fold` compares answers of one model to one source, and `within clip` "
        "images of one clip, of which few clips have both labels. The temperature is that of the "
        "selection part; where that is told apart without an error there is none, the logits stay, "
        "and `no temperature` counts it. The rate is chosen by the "
        f"selection loss of seed {plan.seeds[0]}."
    )
    if facts is not None:
        note += f" The vision transformer's start: {json.dumps(facts)}."
    text = "\n\n".join([*texts, note]) + "\n"
    (out / "methods.md").write_text(text)
    record = {"plan": asdict(plan), "vit_start": facts, "tables": tables}
    (out / "methods.json").write_text(json.dumps(record, indent=1) + "\n")
    return text


def main() -> None:
    """Compute, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    runs = Path("runs") / "benchmarks"
    parser.add_argument("--out", type=Path, default=runs / "methods", help="cells and tables")
    parser.add_argument("--scratch", type=Path, default=runs / "methods-scratch", help="the rest")
    parser.add_argument("--data", default=os.environ.get("ROADWORK_DATA"), help="ROADWORK_DATA")
    parser.add_argument("--parts", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(Plan.seeds))
    parser.add_argument("--size", type=int, default=Plan.size, help="edge of a view in pixels")
    parser.add_argument("--epochs", type=int, default=Plan.epochs)
    parser.add_argument("--precision", choices=("32", "bf16"), default=Plan.precision)
    parser.add_argument("--workers", type=int, default=max(1, len(os.sched_getaffinity(0)) - 2))
    parser.add_argument("--limit-seconds", type=float, default=560.0, help="end before this")
    parser.add_argument("--report", action="store_true", help="tables of what is there alone")
    parser.add_argument("--quick", action="store_true", help="few photographs, 48 px, one pass")
    wanted = parser.parse_args()
    if not wanted.data:
        raise SystemExit("name the folder of photographs: --data, or ROADWORK_DATA")
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes, which share the cores
    wanted.out.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        data=str(Path(wanted.data).resolve()),
        scratch=str(wanted.scratch.resolve()),
        vit_weights=str((wanted.out / "vit_start.safetensors").resolve()),
        seeds=tuple(wanted.seeds),
        size=wanted.size,
        epochs=wanted.epochs,
        precision=wanted.precision,
    )
    if wanted.quick:
        quick = {"seeds": (0,), "folds": 2, "size": 48, "epochs": 1, "vit_drives": 60}
        plan = replace(plan, quick=True, vit_steps=40, **quick)
    limit = 0.0 if wanted.report else wanted.limit_seconds
    print(
        report(
            compute_all(plan, wanted.parts, wanted.out, wanted.workers, limit),
            wanted.parts,
            wanted.out,
        )
    )


if __name__ == "__main__":
    main()
