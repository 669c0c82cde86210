"""Loading a checkpoint folder: model, processor, identity. Nothing else reads files of a base model."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from agent.lvlm.device import Device, fast_dtype, torch_device
from agent.lvlm.families import check_pictures, find_image_token, find_tower, without_video
from envs.component import Settings, UserError

NO_TOKEN = -1
PICTURE_FILES = ("preprocessor_config.json", "processor_config.json")


class ModelSettings(Settings):
    """Which checkpoint, and how it is run.

    Attributes:
        path: `pilot` for the bundled model, or a folder in Hugging Face format.
        device: where it runs. On CUDA it runs in bfloat16 where the GPU multiplies that fast, else in float32.
        threads: CPU threads of the model; 0 chooses them at start, from the machine's cores and load.
        token_budget: most tokens, padding included, in one forward pass; 0 finds it at start. Halved where memory runs
            out.
        feature_cache_mb: how much of the frozen vision tower's output is kept.
        state_cache_mb: how much of the output of language layers below every adapter is kept.
    """

    path: str = "pilot"
    device: Device = "cpu"
    threads: int = Field(0, ge=0)
    token_budget: int = Field(0, ge=0)
    feature_cache_mb: int = Field(512, ge=0)
    state_cache_mb: int = Field(1024, ge=0)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded base model.

    Attributes:
        model: with its head.
        processor: of texts and pictures; the tokenizer itself for a text-only model.
        tower: dotted name of the language tower inside `model`.
        image_token: id of the token that stands for a piece of a picture; -1 for a text-only model.
        identity: hash of its weights and config.
        folder: where it was read.
        sees: whether it takes pictures.
    """

    model: Any
    processor: Any
    tower: str
    image_token: int
    identity: str
    folder: Path
    sees: bool

    @property
    def text_tower(self) -> Any:
        """The language tower, a bare model without head."""
        return self.model.get_submodule(self.tower)

    @property
    def longest(self) -> int:
        """Most tokens that the language tower reads."""
        of_tower = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(of_tower or self.tokenizer.model_max_length)

    @property
    def banned(self) -> list[int]:
        """Ids that stand for pictures or videos, as far as the head knows them."""
        ids = {self.image_token, getattr(self.model.config, "video_token_id", None)}
        size = self.model.get_output_embeddings().weight.shape[0]
        return sorted(token for token in ids if token is not None and 0 <= token < size)

    @property
    def tokenizer(self) -> Any:
        """Of texts alone."""
        return self.processor.tokenizer if self.sees else self.processor


def pilot_folder() -> Path:
    """Where the bundled pilot lies."""
    return Path(__file__).parent.parent / "pilot" / "weights"


def load_checkpoint(settings: ModelSettings) -> Checkpoint:
    """Load model and processor from a local folder, without touching the network.

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
    try:
        device = torch_device(settings.device)
        model, processor, sees = read(folder, fast_dtype(device))
        model.to(device)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError, RuntimeError) as error:
        raise UserError(f"model.path '{settings.path}' does not load: {error}") from error
    model.eval().requires_grad_(False)
    try:
        if sees:
            check_pictures(model)
        image_token = find_image_token(model, processor) if sees else NO_TOKEN
        tower = find_tower(model)
    except UserError as error:
        raise UserError(f"model.path '{settings.path}': {error}") from error
    return Checkpoint(model, processor, tower, image_token, fingerprint(folder), folder, sees)


def read(folder: Path, dtype: torch.dtype) -> tuple[Any, Any, bool]:
    """Model, its processor (the tokenizer of a text-only model), and whether it takes pictures.

    Raises:
        UserError: a vision-language model without processor files, or weights that don't fill the model.
    """
    import transformers  # slow to import: only when a model is wanted

    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    sees = type(config) in transformers.AutoModelForImageTextToText._model_mapping
    family = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
    words = transformers.AutoTokenizer.from_pretrained
    processor = read_processor(folder, config) if sees else words(folder, local_files_only=True)
    model, about = family.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    if about["missing_keys"]:
        missing = sorted(about["missing_keys"])
        raise UserError(
            f"{folder} lacks {len(missing)} of the model's weights ({missing[0]}): they would be random. Get it whole."
        )
    return model, processor, sees


def read_processor(folder: Path, config: Any) -> Any:
    """The folder's processor, without its video part if it has one.

    Raises:
        UserError: its files are missing.
    """
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING, processor_class_from_name

    about: dict[str, Any] = {}
    for name in ("tokenizer_config.json", *PICTURE_FILES):
        if (folder / name).is_file():
            about |= json.loads((folder / name).read_text())
    if not any((folder / name).is_file() for name in PICTURE_FILES):
        raise UserError(f"no {' or '.join(PICTURE_FILES)} in {folder}: copy the processor's files there.")
    named = about.get("processor_class")
    kind: Any = processor_class_from_name(named) if named else PROCESSOR_MAPPING.get(type(config))
    if kind is None or "image_processor" not in kind.get_attributes():
        raise UserError(f"{folder} names no processor of pictures and words (processor_class is {named}).")
    still: Any = without_video(kind)
    return still.from_pretrained(folder, local_files_only=True)


def fingerprint(folder: Path) -> str:
    """Hash of a checkpoint's weights and config: adapters are bound to it."""
    digest = hashlib.blake2b(digest_size=16)
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
