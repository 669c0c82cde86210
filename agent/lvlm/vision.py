"""What the frozen vision tower says of a picture, computed once and kept by content hash."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def content_hash(image: np.ndarray) -> bytes:
    """16 bytes that name a picture by its shape and pixels."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


class Pixels:
    """uint8 pictures -> the model's pixel tensors, by the checkpoint's own processor.

    Where the processor only scales and shifts a picture of this shape (found by trying it on noise, to 1e-6), the same
    arithmetic is done here for a whole batch; else every picture goes through the processor.
    """

    def __init__(self, image_processor: Any) -> None:
        self.processor = image_processor
        self._affine: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor] | None] = {}

    def __call__(self, images: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Tensors for `get_image_features`, one row for each of `images` (all of one shape)."""
        shape = images[0].shape
        if shape not in self._affine:
            self._affine[shape] = self._find_affine(shape)
        affine = self._affine[shape]
        if affine is None:
            return self._through_processor(images)
        scale, shift = affine
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
        values = (batch * scale + shift)[:, None]
        mask = torch.ones(len(images), 1, *shape[:2], dtype=torch.long)
        return {"pixel_values": values, "pixel_attention_mask": mask}

    def _through_processor(self, images: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        out = self.processor(images=[[image] for image in images], return_tensors="pt")
        return {key: value for key, value in out.items() if torch.is_tensor(value) and key not in ("rows", "cols")}

    def _find_affine(self, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor] | None:
        noise = np.random.default_rng(0).integers(0, 256, size=(2, *shape), dtype=np.uint8)
        out = self._through_processor(list(noise))
        values = out["pixel_values"]
        if set(out) != {"pixel_values", "pixel_attention_mask"} or values.shape != (2, 1, 3, *shape[:2]):
            return None
        std = torch.tensor(getattr(self.processor, "image_std", None) or [1.0] * 3).view(3, 1, 1)
        mean = torch.tensor(getattr(self.processor, "image_mean", None) or [0.0] * 3).view(3, 1, 1)
        scale, shift = 1 / (255 * std), -mean / std
        ours = torch.from_numpy(noise).permute(0, 3, 1, 2).float() * scale + shift
        return (scale, shift) if torch.allclose(ours[:, None], values, atol=1e-6) else None


class Vision:
    """Features of pictures, `[tokens, hidden]` each, least recently used dropped beyond `limit_bytes`."""

    def __init__(self, model: Any, image_processor: Any, limit_bytes: int) -> None:
        self.model = model
        self.pixels = Pixels(image_processor)
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._kept: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    def features(self, images: Sequence[np.ndarray]) -> tuple[list[bytes], list[torch.Tensor]]:
        """Content hash and features of each picture, float32 `[tokens, hidden]`, in order."""
        keys = [content_hash(image) for image in images]
        missing = {key: image for key, image in zip(keys, images, strict=True) if key not in self._kept}
        self.hits += len(keys) - len(missing)
        self.misses += len(missing)
        fresh = self._compute(missing)
        out = [fresh[key] if key in fresh else self._kept[key] for key in keys]
        for key in keys:
            if key in fresh and key not in self._kept:
                self._kept[key] = fresh[key]
                self.bytes += fresh[key].nbytes
            else:
                self._kept.move_to_end(key)
        while self.bytes > self.limit_bytes:
            _, dropped = self._kept.popitem(last=False)
            self.bytes -= dropped.nbytes
        return keys, out

    @torch.no_grad()
    def _compute(self, missing: dict[bytes, np.ndarray]) -> dict[bytes, torch.Tensor]:
        by_shape: dict[tuple[int, ...], list[bytes]] = {}
        for key, image in missing.items():
            by_shape.setdefault(image.shape, []).append(key)
        out: dict[bytes, torch.Tensor] = {}
        for keys in by_shape.values():
            for start in range(0, len(keys), 256):
                some = keys[start : start + 256]
                features = self.model.get_image_features(**self.pixels([missing[key] for key in some])).pooler_output
                out.update({key: row.clone() for key, row in zip(some, features, strict=True)})
        return out
