"""What the vision tower says of a picture, computed once and kept by content hash."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agent.lvlm.checkpoint import Checkpoint
from agent.lvlm.crew import Crew
from agent.lvlm.families import looks_across, takes
from agent.lvlm.kept import Kept, Tally
from agent.lvlm.prompts import Prompter, encode
from agent.lvlm.rows import Picture
from memory.images import content_key

AT_ONCE = 256
Unit = tuple[np.ndarray, ...]
"""Pictures that are looked at together: one, but for families that show many at a coarser grain."""


class Pixels:
    """uint8 pictures -> the model's pixel tensors, by the checkpoint's own processor.

    Where the processor only scales and shifts a picture of this shape (found by trying it on noise, to 1e-6), the same
    arithmetic is done here for a whole batch; else every picture goes through the processor.
    """

    def __init__(self, prompter: Prompter, wanted: frozenset[str]) -> None:
        self.processor = prompter.processor
        self.tokenizer = prompter.tokenizer
        self.render = prompter.render
        self.wanted = wanted
        self._affine: dict[tuple[int, ...], tuple[Tensor, Tensor] | None] = {}

    def __call__(self, units: Sequence[Unit]) -> dict[str, Tensor]:
        """Tensors for the vision tower, for units of as many pictures of the same shapes."""
        shape = units[0][0].shape
        if shape not in self._affine:
            self._affine[shape] = self._find_affine(shape)
        affine = self._affine[shape]
        if affine is None or len(units[0]) > 1:
            return self._through_processor(units)
        scale, shift = affine
        batch = torch.from_numpy(np.stack([image for (image,) in units])).permute(0, 3, 1, 2).float()
        values = (batch * scale + shift)[:, None]
        mask = torch.ones(len(units), 1, *shape[:2], dtype=torch.long)
        return {"pixel_values": values, "pixel_attention_mask": mask}

    def _through_processor(self, units: Sequence[Unit]) -> dict[str, Tensor]:
        mark = self.render([""] * (len(units[0]) + 1))
        out = encode(self.processor, self.tokenizer, [mark] * len(units), [list(unit) for unit in units])
        return {name: out[name] for name in self.wanted & set(out)}

    def _find_affine(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor] | None:
        noise = np.random.default_rng(0).integers(0, 256, size=(2, *shape), dtype=np.uint8)
        out = self._through_processor([(image,) for image in noise])
        values = out["pixel_values"]
        if set(out) != {"pixel_values", "pixel_attention_mask"} or values.shape != (2, 1, 3, *shape[:2]):
            return None
        image_processor = self.processor.image_processor
        std = torch.tensor(getattr(image_processor, "image_std", None) or [1.0] * 3).view(3, 1, 1)
        mean = torch.tensor(getattr(image_processor, "image_mean", None) or [0.0] * 3).view(3, 1, 1)
        scale, shift = 1 / (255 * std), -mean / std
        ours = torch.from_numpy(noise).permute(0, 3, 1, 2).float() * scale + shift
        return (scale, shift) if torch.allclose(ours[:, None], values, atol=1e-6) else None


class Vision:
    """Pictures as the tower sees them, least recently used dropped beyond `limit_bytes`.

    Attributes:
        trained: whether adapters change what the tower or the projector says: then nothing is kept, and gradients flow.
        tally: of pictures.
        crew: who shares the pictures.
    """

    def __init__(self, checkpoint: Checkpoint, prompter: Prompter, limit_bytes: int) -> None:
        self.body = checkpoint.model.base_model
        self.trained = False
        self.together = False
        self.tally = Tally()
        self.crew = Crew(1)
        self.kept: Kept[Picture] = Kept(limit_bytes)
        self._look = self._across if looks_across(checkpoint.model) else self._among
        if checkpoint.sees:
            source = self.body.vision_model.forward if self._look == self._across else self.body.get_image_features
            self.pixels = Pixels(prompter, takes(source))
            self.together = "batch_num_images" in takes(source)

    def pictures(self, prompts: Sequence[Unit]) -> list[tuple[Picture, ...]]:
        """What the tower says of the pictures of each prompt, in order: one for each, or one for all of them."""
        units = [self._units(images) for images in prompts]
        seen = iter(self._pictures([unit for some in units for unit in some]))
        return [tuple(next(seen) for _ in some) for some in units]

    def _units(self, images: Unit) -> list[Unit]:
        return [images] if len(images) > 1 and self.together else [(image,) for image in images]

    def _pictures(self, units: Sequence[Unit]) -> list[Picture]:
        keys = [b"".join(map(content_key, unit)) for unit in units]
        seen = {key: self.kept.get(key) for key in keys}
        missing = {key: unit for key, unit in zip(keys, units, strict=True) if seen[key] is None}
        self.tally.hits += len(keys) - len(missing)
        self.tally.misses += len(missing)
        fresh = self._compute(missing)
        if not self.trained:
            self.kept.put(fresh)
        return [picture for key in keys if (picture := fresh.get(key) or seen[key]) is not None]

    def _compute(self, missing: dict[bytes, Unit]) -> dict[bytes, Picture]:
        by_shape: dict[tuple[tuple[int, ...], ...], list[bytes]] = {}
        for key, unit in missing.items():
            by_shape.setdefault(tuple(image.shape for image in unit), []).append(key)
        out: dict[bytes, Picture] = {}
        for keys in by_shape.values():
            for start in range(0, len(keys), AT_ONCE):
                shares = self.crew.shares(keys[start : start + AT_ONCE])
                shown = [(some, self.pixels([missing[key] for key in some])) for some in shares]
                with torch.set_grad_enabled(self.trained and torch.is_grad_enabled()):
                    for some, seen in zip(shares, self.crew.map(self._seen, shown), strict=True):
                        out.update(zip(some, seen, strict=True))
        return out

    def _seen(self, shown: tuple[Sequence[bytes], dict[str, Tensor]]) -> list[Picture]:
        """What the tower says of pictures, by key and pixels."""
        keys, pixels = shown
        return self._look(keys, {name: self._moved(value) for name, value in pixels.items()})

    def _moved(self, value: Tensor) -> Tensor:
        """On the model's device, numbers in its precision."""
        return value.to(self.body.device, self.body.dtype if value.is_floating_point() else value.dtype)

    def _among(self, keys: Sequence[bytes], pixels: dict[str, Tensor]) -> list[Picture]:
        """Pictures that are put among the words."""
        said = self.body.get_image_features(**pixels)
        shares = self._shares(said.pooler_output, len(keys))
        deep = [self._shares(level, len(keys)) for level in getattr(said, "deepstack_features", None) or ()]
        stacked = torch.is_tensor(said.pooler_output)
        return [Picture(key, shares[i], tuple(level[i] for level in deep), stacked) for i, key in enumerate(keys)]

    def _across(self, keys: Sequence[bytes], pixels: dict[str, Tensor]) -> list[Picture]:
        """Pictures that are looked at by cross attention: `[tiles, patches, hidden]` each."""
        states = self.body.multi_modal_projector(self.body.vision_model(**pixels).last_hidden_state)
        states = states.reshape(-1, *states.shape[-2:])
        return [Picture(key, share) for key, share in zip(keys, self._shares(states, len(keys)), strict=True)]

    def _shares(self, said: Any, count: int) -> list[tuple[Tensor, ...]]:
        """Crops of the same number for each picture (all have one shape); copies, so that the batch can go."""
        each = len(said) // count
        crops = [crop if self.trained else crop.clone() for crop in said]
        return [tuple(crops[i * each : (i + 1) * each]) for i in range(count)]
