"""Designs of a large vector index beside one another: why the memory's is as it is.

    python -m benchmarks.memory_designs [--json FILE] [--quick]

Material and measures are those of `benchmarks.memory_search`; each design in a process of its own, on one thread. What
cannot delete keeps tombstones that its search is told of. Then ours under drift: built on one world, then another one
comes until a third is of it, and is asked for; with lists of its own, in the lists there are, and built again.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.embeddings import DIMENSION, Material, Search, peak_resident, resident
from benchmarks.memory_search import in_process
from benchmarks.runs import arguments, finish, machine
from memory.index import FaissIndex
from memory.index_lists import Lists

PROBES = 64
STEPS = 2000  # that a cycle adds
DESIGNS = {
    "flat": "every vector compared, float32",
    "flat_sq8": "every vector compared, int8",
    "flat_pq_refined": "every vector compared by 4-bit codes (PQ), 200 ranked anew in float16",
    "flat_rabitq_refined": "every vector compared by 1-bit codes (RaBitQ), 200 ranked anew in float16",
    "lists_sq8": "lists, int8",
    "lists_fp16": "lists, float16 (ours)",
    "hnsw_fp16": "graph (HNSW, M 16, 256 looked at), float16",
}
DRIFTED = {
    "drift": "ours, a third of it of a world that came after the build",
    "drift_old_lists": "the control: the new world goes into the lists there are",
    "drift_built": "built again",
}
FACTORY = {
    "flat": "Flat",
    "flat_sq8": "SQ8",
    "flat_pq_refined": "PQ128x4fs,Refine(SQfp16)",
    "flat_rabitq_refined": "RaBitQ,Refine(SQfp16)",
    "lists_sq8": "IVF2000,SQ8",
    "hnsw_fp16": "HNSW16_SQfp16",
}
MEASURES = ("recall_at_10", "p50_ms", "p99_ms", "build_seconds", "resident_gb")


def main() -> None:
    """Measure, print the table, write the figures."""
    given = arguments(__doc__ or "")
    count, queries = (300_000, 100) if given.quick else (1_000_000, 500)
    print(f"nearest 10 of {count} vectors of {DIMENSION}, one thread; {machine()}, load {os.getloadavg()[0]:.1f}\n")
    print(f"{'':84}" + "".join(f"{name:>14}" for name in MEASURES))
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        Material(Path(folder), count).make(queries)
        for design, what in DESIGNS.items():
            figures |= row(design, what, in_process("benchmarks.memory_designs", "measured", folder, count, design))
        Material(Path(folder), count).make(queries, worlds=(0, 0, 1))
        for name, what in DRIFTED.items():
            figures |= row(name, what, in_process("benchmarks.memory_designs", "drifted", folder, count, name))
    finish(figures, given.json)


def row(name: str, what: str, values: dict[str, float]) -> dict[str, float]:
    """Print a row; returns its figures under the names they are written by."""
    print(f"{what:84}" + "".join(f"{values[measure]:>14.3f}" for measure in MEASURES), flush=True)
    return {f"{name}_{measure}": value for measure, value in values.items()}


def measured(folder: str, count: int, design: str) -> dict[str, float]:
    """The measures of one design."""
    material = Material(Path(folder), count)
    before, began = resident(), time.perf_counter()
    search = ours(material) if design == "lists_fp16" else made(material, FACTORY[design])
    built = time.perf_counter() - began
    return material.measure(search) | {"build_seconds": built, "resident_gb": peak_resident() - before}


def ours(material: Material) -> Search:
    """The index of the memory, its tenth removed."""
    index = FaissIndex.build(DIMENSION, material.count, material.parts)
    index.remove(np.flatnonzero(~material.kept()))
    return index.search


def made(material: Material, factory: str) -> Search:
    """An index of FAISS by its factory's name, with tombstones."""
    faiss.omp_set_num_threads(1)
    index: Any = faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        index.train(np.concatenate([vectors[::8].copy() for _, vectors in material.parts()]))
    for _, vectors in material.parts():
        index.add(vectors)
    keep = material.kept()
    if "fs" in factory:  # its codes are compared in blocks, and no search of them knows of tombstones
        index.k_factor = 10
        return lambda queries, k: filtered(*index.search(queries, 2 * k), keep, k)
    bits = np.packbits(keep, bitorder="little")
    parameters = with_tombstones(factory, faiss.IDSelectorBitmap(bits))
    return lambda queries, k: index.search(queries, k, params=parameters)[::-1]


def filtered(near: np.ndarray, ids: np.ndarray, keep: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `k` of the living among what one query found."""
    living = np.flatnonzero(keep[ids[0]])[:k]
    return ids[:, living], near[:, living]


def with_tombstones(factory: str, living: Any) -> Any:
    """Parameters of a search among the living."""
    if "Refine" in factory:
        inner = faiss.SearchParameters(sel=living)
        return faiss.IndexRefineSearchParameters(k_factor=20, base_index_params=inner)
    if factory.startswith("IVF"):
        return faiss.SearchParametersIVF(sel=living, nprobe=PROBES)
    if factory.startswith("HNSW"):
        return faiss.SearchParametersHNSW(sel=living, efSearch=256)
    return faiss.SearchParameters(sel=living)


def drifted(folder: str, count: int, name: str) -> dict[str, float]:
    """The measures of ours when a world came after the build."""
    material = Material(Path(folder), count)
    if name == "drift_old_lists":
        setattr(Lists, "take", Lists.add)  # noqa: B010 - the control, in a process of its own
    before, came, began = resident(), 2 * count // 3, time.perf_counter()
    first = count if name == "drift_built" else came
    index = FaissIndex.build(DIMENSION, first, lambda: material.parts(0, first))
    for start in range(first, count, STEPS):
        for ids, vectors in material.parts(start, min(start + STEPS, count)):
            index.add(ids, vectors)
    index.remove(np.flatnonzero(~material.kept()))
    built = time.perf_counter() - began
    return material.measure(index.search) | {"build_seconds": built, "resident_gb": peak_resident() - before}


if __name__ == "__main__":
    main()
