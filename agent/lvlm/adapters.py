"""LoRA adapters: champion and candidate side by side, saved as standard PEFT folders that are proven to reload."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import Field

from agent.finite import NotFinite
from agent.lvlm.checkpoint import Checkpoint
from agent.lvlm.families import between_towers, vision_tower
from agent.lvlm.lowrank import MergedLinear
from envs.component import Settings, UserError

CHAMPION, CANDIDATE, BASE, RELOADED = "champion", "candidate", "base", "reloaded"
RELOAD_TOLERANCE = 1e-5
MERGE_LIMIT = 256 * 2**20
IDENTITY_FILE = "holdtrue.json"


class LoraSettings(Settings):
    """Shape of the adapters.

    Attributes:
        modules: the linear layers of the language tower that get one.
        last_layers: only so many layers, counted from the top; 0 means all. What the layers below make of a prompt
            never changes, so it is computed once per prompt and kept.
        projector, vision: adapt every linear layer between the towers, or of the vision tower, too. Then pictures are
            looked at anew in every forward, and nothing is kept of them or of lower layers.
    """

    rank: int = Field(16, ge=1, le=512)
    alpha: float = Field(32.0, gt=0)
    last_layers: int = Field(0, ge=0)
    modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    projector: bool = False
    vision: bool = False


class Adapters:
    """The adapters of one base model. Both have one shape; `base` means adapters off.

    Dropout is 0, so that the first importance ratio of an update is 1.
    """

    def __init__(self, checkpoint: Checkpoint, settings: LoraSettings, seed: int) -> None:
        self.identity = checkpoint.identity
        self.settings = settings
        count = len(checkpoint.text_tower.layers)
        self.first_layer = max(0, count - settings.last_layers) if settings.last_layers else 0
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=0.0,
            bias="none",
            target_modules="|".join(targets(checkpoint, settings, self.first_layer)),
        )
        config._register_custom_module({torch.nn.Linear: MergedLinear})
        state = torch.random.get_rng_state()
        torch.manual_seed(seed)
        self.peft: PeftModel = get_peft_model(checkpoint.model, config, adapter_name=CHAMPION)
        self.peft.add_adapter(CANDIDATE, config)
        torch.random.set_rng_state(state)
        found = {n: m for n, m in checkpoint.model.named_modules() if isinstance(m, MergedLinear)}
        self.modules = sorted(found)
        self._layers = [found[name] for name in self.modules]
        self._sums: tuple[str, list[torch.Tensor]] = ("", [])
        self._versions: dict[str, tuple[int, str]] = {}
        self._tensors = {name: self._find(name) for name in (CHAMPION, CANDIDATE)}
        self.active = CHAMPION
        self.copy(CHAMPION, CANDIDATE)
        self.use(CHAMPION)

    def _find(self, adapter: str) -> dict[str, torch.nn.Parameter]:
        mark = f".{adapter}."
        return {n.replace(mark, "."): p for n, p in self.peft.named_parameters() if mark in n and "lora_" in n}

    def tensors(self, adapter: str) -> dict[str, torch.nn.Parameter]:
        """The adapter's weights by layer name."""
        return self._tensors[adapter]

    def use(self, adapter: str) -> None:
        """Let this adapter speak; only an active candidate takes gradients."""
        if adapter == BASE:
            self.peft.base_model.disable_adapter_layers()
        else:
            if self.active == BASE:
                self.peft.base_model.enable_adapter_layers()
            self.peft.set_adapter(adapter)
        self.active = adapter
        for name, tensors in self._tensors.items():
            for parameter in tensors.values():
                parameter.requires_grad_(name == CANDIDATE == adapter)

    @contextmanager
    def using(self, adapter: str) -> Iterator[None]:
        """For the length of a block, another adapter speaks."""
        before = self.active
        if before != adapter:
            self.use(adapter)
        try:
            yield
        finally:
            if before != adapter:
                self.use(before)

    @contextmanager
    def merged(self) -> Iterator[None]:
        """For the length of a block, the speaking adapter is added into the weights it adapts: no extra products.

        It learns through the sums as it does without them; they are kept until it changes. Where they would take more
        than `MERGE_LIMIT` bytes, or lose digits (bfloat16), nothing is merged.
        """
        weights = [layer.base_layer.weight for layer in self._layers]
        exact = all(weight.dtype == torch.float32 for weight in weights)
        if self.active == BASE or not exact or sum(weight.nbytes for weight in weights) > MERGE_LIMIT:
            yield
            return
        version = self.version(self.active)
        if self._sums[0] != version:
            with torch.no_grad():
                sums = [layer.base_layer.weight + layer.get_delta_weight(self.active) for layer in self._layers]
            self._sums = (version, sums)
        for layer, total in zip(self._layers, self._sums[1], strict=True):
            layer.total = total
        try:
            yield
        finally:
            for layer in self._layers:
                layer.total = None

    @torch.no_grad()
    def copy(self, source: str, target: str) -> None:
        """Overwrite one adapter with another."""
        for name, parameter in self._tensors[target].items():
            parameter.copy_(self._tensors[source][name])

    @torch.no_grad()
    def mix(self, source: str, target: str, alpha: float) -> None:
        """Move an adapter to the share `alpha` of the way that leads to it from another.

        Raises:
            UserError: `alpha` is not in 0..1.
        """
        if not 0 <= alpha <= 1:
            raise UserError(f"alpha is {alpha}: give a share of the way, from 0 to 1.")
        for name, parameter in self._tensors[target].items():
            parameter.copy_(torch.lerp(self._tensors[source][name], parameter, alpha))

    def version(self, adapter: str) -> str:
        """16 hex digits that name these very weights; `base` for adapters off."""
        if adapter == BASE:
            return BASE
        tensors = [parameter for _, parameter in sorted(self._tensors[adapter].items())]
        writes = sum(parameter._version for parameter in tensors)  # torch counts every change in place
        known = self._versions.get(adapter)
        if known is None or known[0] != writes:
            digest = hashlib.blake2b(digest_size=8)
            for parameter in tensors:
                digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
            known = self._versions[adapter] = (writes, digest.hexdigest())
        return known[1]

    def save(
        self, adapter: str, folder: Path, opinion: Callable[[], torch.Tensor], beside: Mapping[str, str] | None = None
    ) -> None:
        """Write a standard PEFT folder, whole or not at all, once what was written has proven to say the same.

        Args:
            opinion: numbers that the adapter which speaks decides.
            beside: texts of further files, by name.

        Raises:
            NotFinite: the opinion is no numbers.
            RuntimeError: what was written, read by plain PEFT, does not say what it should.
        """
        aside = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(aside, ignore_errors=True)
        self.peft.save_pretrained(str(aside), selected_adapters=[adapter], save_embedding_layers=False)
        for file in (aside / adapter).iterdir():
            file.rename(aside / file.name)
        (aside / adapter).rmdir()
        shape = {"rank": self.settings.rank, "alpha": self.settings.alpha, "adapted": self.modules}
        about = {"base": self.identity, "version": self.version(adapter), **shape}
        for name, text in {**(beside or {}), IDENTITY_FILE: json.dumps(about, indent=1)}.items():
            (aside / name).write_text(text)
        for file in aside.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        try:
            self._check_reload(adapter, aside, opinion)
        except BaseException:
            shutil.rmtree(aside)
            raise
        if folder.exists():
            shutil.rmtree(folder)
        aside.rename(folder)
        parent = os.open(folder.parent, os.O_RDONLY)
        os.fsync(parent)
        os.close(parent)

    def _check_reload(self, adapter: str, folder: Path, opinion: Callable[[], torch.Tensor]) -> None:
        with self.using(adapter):
            meant = opinion()
        if not torch.isfinite(meant).all():
            raise NotFinite("the adapter's log-probs are not finite numbers")
        device = str(next(iter(self._tensors[adapter].values())).device)
        self.peft.load_adapter(str(folder), RELOADED, torch_device=device, low_cpu_mem_usage=True)
        try:
            with self.using(RELOADED):
                said = opinion()
        finally:
            self.peft.delete_adapter(RELOADED)
        if not torch.allclose(said, meant, atol=RELOAD_TOLERANCE, rtol=0):
            worst = float((said - meant).abs().max())
            raise RuntimeError(f"the adapter in {folder} says something else than what was saved, by {worst:.2g} nats")

    def load(self, folder: Path, adapter: str) -> None:
        """Read an adapter that `save` wrote.

        Raises:
            UserError: it is not there, belongs to another base, or has another shape.
        """
        from safetensors.torch import load_file

        try:
            about = json.loads((folder / IDENTITY_FILE).read_text())
            tensors = load_file(folder / "adapter_model.safetensors")
        except (OSError, ValueError) as error:
            raise UserError(f"adapter {folder} does not load: {error}") from error
        if about["base"] != self.identity:
            raise UserError(
                f"adapter {folder} was trained on another base model "
                f"({about['base'][:8]}, this one is {self.identity[:8]}): load it with the model it belongs to."
            )
        expected = get_peft_model_state_dict(self.peft, adapter_name=adapter, save_embedding_layers=False)
        wrong = set(expected) ^ set(tensors) or {k for k in expected if expected[k].shape != tensors[k].shape}
        if wrong:
            raise UserError(
                f"adapter {folder} has another shape ({sorted(wrong)[0]}): lora.rank or lora.modules differ."
            )
        set_peft_model_state_dict(self.peft, tensors, adapter_name=adapter)
        if self.version(adapter) != about["version"]:
            raise UserError(f"adapter {folder} is damaged: its weights are not those that were saved.")


def targets(checkpoint: Checkpoint, settings: LoraSettings, first_layer: int) -> list[str]:
    """Patterns that match the whole names of the layers to adapt, and no others.

    Raises:
        UserError: the model has no such layers.
    """
    bare = "|".join(map(re.escape, settings.modules))
    numbers = "|".join(map(str, range(first_layer, len(checkpoint.text_tower.layers))))
    tower = re.escape(checkpoint.tower)
    patterns = [rf"{tower}\.layers\.({numbers})\..*\.({bare})"] if settings.modules else []
    names = {name for name, _ in checkpoint.model.named_modules()}
    if patterns and not any(re.fullmatch(patterns[0], name) for name in names):
        raise UserError(f"lora.modules {list(settings.modules)}: the language tower has no such layers.")
    for setting, on, find in (
        ("projector", settings.projector, between_towers),
        ("vision", settings.vision, vision_tower),
    ):
        found = find(checkpoint.model, checkpoint.tower) if on else []
        if on and not found:
            raise UserError(
                f"lora.{setting} is true, but a {type(checkpoint.model).__name__} has no linear layers there."
            )
        patterns += sorted({re.sub(r"(?<=\\\.)\d+(?=\\\.)", r"\\d+", re.escape(name)) for name in found})
    if not patterns:
        raise UserError("lora.modules is empty, and neither projector nor vision is adapted: nothing could be learned.")
    return patterns
