"""The memory as files others read: parquet tables, PNG pictures by content, and a dataset of preference pairs.

    episodes.parquet, steps.parquet     joined by `episode`; pictures by content key
    images/KEY.png                      every picture once
    pairs/train.parquet                 `datasets.load_dataset("DIR/pairs")`: prompt, images, chosen, rejected, ...

Rows go through in batches: what is in RAM does not grow with the memory. The only pyarrow import.
"""

import io
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.component import UserError
from envs.types import Observation
from memory.codec import STEP_COLUMNS, unpack_step
from memory.images import content_key, pack_numbers, unpack_numbers
from memory.parts import Parts
from memory.preferences import PreferencePair
from memory.schema import STEP_BITS

if TYPE_CHECKING:
    import pyarrow

BATCH = 1000  # rows
_PICTURES = 64  # decoded at once
_HUGGING_FACE = {
    "images": [{"_type": "Image"}],
    **{name: {"dtype": "string", "_type": "Value"} for name in ("prompt", "chosen", "rejected", "source", "task")},
    **{name: [{"dtype": "string", "_type": "Value"}] for name in ("choices", "episodes")},
    "cycle": {"dtype": "int64", "_type": "Value"},
    "margin": {"dtype": "float64", "_type": "Value"},
}
Rows = list[dict[str, Any]]


def export(parts: Parts, target: Path) -> dict[str, int]:
    """Write everything into the folder `target`, which appears only once it is whole.

    Returns:
        How many of each: episodes, steps, images, pairs.

    Raises:
        UserError: the folder is not empty, or can't be written; a picture is damaged.
    """
    aside = target.absolute().with_name(f".{target.absolute().name}.partial")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(f"{target} is there already and not empty. Give another folder, or move that one away.")
        shutil.rmtree(aside, ignore_errors=True)  # of an export that was killed
        (aside / "images").mkdir(parents=True)
        (aside / "pairs").mkdir()
        written = _write_all(parts, aside)
        os.replace(aside, target)
    except OSError as error:
        raise UserError(f"{target}: {error.strerror}. Give a folder that can be written, with room enough.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return written


def _write_all(parts: Parts, folder: Path) -> dict[str, int]:
    episodes = _write(folder / "episodes.parquet", _episode_schema(), _episode_rows(parts))
    steps = _write(folder / "steps.parquet", _step_schema(), _step_rows(parts))
    pairs = _write(folder / "pairs" / "train.parquet", _pair_schema(), _pair_rows(parts))
    return {"episodes": episodes, "steps": steps, "images": _write_images(parts, folder / "images"), "pairs": pairs}


def _write(path: Path, schema: "pyarrow.Schema", batches: Iterator[Rows]) -> int:
    """One parquet file; returns how many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in batches:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
            count += len(rows)
    return count


def _write_images(parts: Parts, folder: Path) -> int:
    cursor = parts.database.execute("SELECT number, key FROM pictures ORDER BY number")
    count = 0
    while chunk := cursor.fetchmany(_PICTURES):
        images = parts.pictures.get(pack_numbers([number]) for number, _ in chunk)
        for (image,), (_, key) in zip(images, chunk, strict=True):
            (folder / f"{key.hex()}.png").write_bytes(png(image))
        count += len(chunk)
    return count


def png(image: np.ndarray) -> bytes:
    """Uint8 `[H, W, 3]` (or 1 or 4 channels) as a PNG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(out, format="PNG")
    return out.getvalue()


# --------------------------------------------------------------------------------------------------------------- rows


def _batches(parts: Parts, sql: str, rows_of: Callable[[list[Any]], Rows], size: int = BATCH) -> Iterator[Rows]:
    cursor = parts.database.execute(sql)
    while chunk := cursor.fetchmany(size):
        yield rows_of(chunk)


def _episode_rows(parts: Parts) -> Iterator[Rows]:
    columns = "id, task, seed, grp, member, cycle, policy_version, stop, success, length, seen, uses, drift, final_text"
    names = columns.replace("grp", "group").replace("length", "steps").split(", ")

    def rows(chunk: list[Any]) -> Rows:
        keys = _keys(parts, [row[15] for row in chunk])
        return [
            dict(zip(names, row[:14], strict=True))
            | {"success": bool(row[8]), "return": struct.unpack("<d", row[14])[0], "final_images": shown}
            for row, shown in zip(chunk, keys, strict=True)
        ]

    return _batches(parts, f"SELECT {columns}, gain, final_pictures FROM episodes ORDER BY number", rows)


def _step_rows(parts: Parts) -> Iterator[Rows]:
    def rows(chunk: list[Any]) -> Rows:
        keys = _keys(parts, [row[1] for row in chunk])
        return [_step_row(row, shown) for row, shown in zip(chunk, keys, strict=True)]

    sql = (
        f"SELECT {STEP_COLUMNS}, steps.number & {(1 << STEP_BITS) - 1}, id FROM steps "
        f"JOIN episodes ON episodes.number = steps.number >> {STEP_BITS} ORDER BY steps.number"
    )
    return _batches(parts, sql, rows)


def _step_row(row: tuple[Any, ...], shown: list[str]) -> dict[str, Any]:
    step = unpack_step(row[:12], ())
    action = step.action
    return {
        "episode": row[13],
        "step": row[12],
        "text": step.observation.text,
        "images": shown,
        "choices": step.choices,
        "said": action.text,
        "tokens": action.tokens,
        "logprobs": action.logprobs,
        "mode": action.mode,
        "command": json.dumps(action.command),
        "readable": action.readable,
        "reward": step.reward,
        "cost": step.cost,
        "terminated": step.terminated,
        "truncated": step.truncated,
        "info": json.dumps(step.info),
    }


def _pair_rows(parts: Parts) -> Iterator[Rows]:
    def rows(chunk: list[Any]) -> Rows:
        return [_pair_row(pair) for pair in parts.pairs.read([number for (number,) in chunk])]

    return _batches(parts, "SELECT number FROM pairs ORDER BY number", rows, _PICTURES)


def _pair_row(pair: PreferencePair) -> dict[str, Any]:
    return {
        "prompt": pair.observation.text,
        "images": _files(pair.observation),
        "chosen": pair.chosen.text,
        "rejected": pair.rejected.text,
        "choices": pair.choices,
        "source": pair.source,
        "margin": pair.margin,
        "task": pair.task,
        "cycle": pair.cycle,
        "episodes": pair.episodes,
    }


def _files(observation: Observation) -> list[dict[str, Any]]:
    """Pictures as the `datasets` library keeps them."""
    return [{"bytes": png(image), "path": f"{content_key(image).hex()}.png"} for image in observation.images]


def _keys(parts: Parts, packed: Sequence[bytes]) -> list[list[str]]:
    """Content keys, hexadecimal, of the pictures that each entry names."""
    rows = [unpack_numbers(data) for data in packed]
    sql = "SELECT key FROM pictures WHERE number = ?"
    keys = {n: parts.database.execute(sql, (n,)).fetchone()[0].hex() for n in {n for row in rows for n in row}}
    return [[keys[number] for number in row] for row in rows]


# ------------------------------------------------------------------------------------------------------------ schemas


def _episode_schema() -> "pyarrow.Schema":
    import pyarrow as pa

    texts = ("id", "task", "group", "policy_version", "stop", "final_text")
    numbers = ("seed", "member", "cycle", "steps", "seen", "uses")
    return pa.schema(
        [
            *((name, pa.string()) for name in texts),
            *((name, pa.int64()) for name in numbers),
            ("success", pa.bool_()),
            ("return", pa.float64()),
            ("drift", pa.float64()),
            ("final_images", pa.list_(pa.string())),
        ]
    )


def _step_schema() -> "pyarrow.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            *((name, pa.string()) for name in ("episode", "text", "said", "mode", "command", "info")),
            *((name, pa.list_(pa.string())) for name in ("images", "choices")),
            *((name, pa.bool_()) for name in ("readable", "terminated", "truncated")),
            ("step", pa.int64()),
            ("tokens", pa.list_(pa.int64())),
            ("logprobs", pa.list_(pa.float32())),
            ("reward", pa.float64()),
            ("cost", pa.float64()),
        ]
    )


def _pair_schema() -> "pyarrow.Schema":
    """With the features that `datasets` looks for, so that pictures come back as pictures."""
    import pyarrow as pa

    texts = ("prompt", "chosen", "rejected", "source", "task")
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [
        *((name, pa.string()) for name in texts),
        ("images", pa.list_(picture)),
        *((name, pa.list_(pa.string())) for name in ("choices", "episodes")),
        ("cycle", pa.int64()),
        ("margin", pa.float64()),
    ]
    features = json.dumps({"info": {"features": _HUGGING_FACE}})
    return pa.schema(fields, metadata={"huggingface": features})
