"""Loading a checkpoint folder: model, processor, identity. Nothing else reads files of a base model."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from envs.component import Settings, UserError

TEXT_TOWERS = ("text_model", "language_model")
"""Where families keep the language tower, inside `model.model`."""


class ModelSettings(Settings):
    """Which checkpoint, and how it is run.

    Attributes:
        path: `pilot` for the bundled model, or a folder in Hugging Face format.
        threads: CPU threads of the model, chosen once; 0 takes the machine's cores.
        token_budget: most tokens, padding included, in one forward pass.
        feature_cache_mb: how much of the frozen vision tower's output is kept.
        state_cache_mb: how much of the output of language layers below every adapter is kept.
    """

    path: str = "pilot"
    threads: int = 0
    token_budget: int = 16384
    feature_cache_mb: int = 512
    state_cache_mb: int = 1024


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded base model. `identity` is a hash of its weights and config."""

    model: Any
    processor: Any
    tower: str
    identity: str
    folder: Path

    @property
    def text_tower(self) -> Any:
        return getattr(self.model.model, self.tower)

    @property
    def image_token(self) -> int:
        return int(self.model.config.image_token_id)


def pilot_folder() -> Path:
    """Where the bundled pilot lies."""
    return Path(__file__).parent.parent / "pilot" / "weights"


def load_checkpoint(settings: ModelSettings) -> Checkpoint:
    """Load model and processor from a local folder, float32 on the CPU, without touching the network.

    Raises:
        UserError: the folder, its weights or its processor are missing, or the family is not understood.
    """
    folder = pilot_folder() if settings.path == "pilot" else Path(settings.path).expanduser()
    if not (folder / "config.json").is_file():
        raise UserError(
            f"model.path '{settings.path}': no config.json in {folder}. Give 'pilot', or the folder of a checkpoint "
            "in Hugging Face format (config.json, *.safetensors, processor files)."
        )
    if not list(folder.glob("*.safetensors")):
        raise UserError(f"model.path '{settings.path}': no *.safetensors there; only safetensors are loaded.")
    from transformers import AutoModelForImageTextToText, AutoProcessor  # slow to import: only when a model is wanted

    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(f"model.path '{settings.path}' does not load: {error}") from error
    tower = next((name for name in TEXT_TOWERS if hasattr(model.model, name)), None)
    if tower is None or not hasattr(model, "get_image_features"):
        raise UserError(
            f"model.path '{settings.path}': a {type(model).__name__} has no {' or '.join(TEXT_TOWERS)} in model.model, "
            "or no get_image_features: this family is not supported yet."
        )
    model.eval().requires_grad_(False)
    return Checkpoint(model, processor, tower, fingerprint(folder), folder)


def fingerprint(folder: Path) -> str:
    """Hash of a checkpoint's weights and config: adapters are bound to it."""
    digest = hashlib.blake2b(digest_size=16)
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
