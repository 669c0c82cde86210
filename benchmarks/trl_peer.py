"""TRL's DPOTrainer and GRPOTrainer on the same checkpoint, set up as one who knows them would for a CPU.

float32, no gradient checkpointing, nothing reported, logged or saved, data loaded in the process; one trainer is kept
warm, and what is timed is from the first batch to the last optimizer step.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Picture
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer

from agent.lvlm.adapters import CANDIDATE
from agent.policy import Policy
from benchmarks.material import Peer
from envs.types import IMAGE_MARK, Observation
from memory.preferences import PreferencePair

PLAIN: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "logging_strategy": "no",
    "disable_tqdm": True,
    "dataloader_num_workers": 0,
    "dataloader_pin_memory": False,
    "lr_scheduler_type": "constant",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "num_train_epochs": 1,
    "seed": 0,
}


class Clock(TrainerCallback):
    """Seconds from where training begins to where it ends; making optimizers and loaders lies before."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.began = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.seconds = time.perf_counter() - self.began


class TrlDpo:
    """A warm DPOTrainer."""

    def __init__(self, peer: Peer, pairs: Sequence[PreferencePair], batch: int, beta: float, rate: float) -> None:
        self.peer = peer
        self.clock = Clock()
        settings = DPOConfig(
            output_dir="runs/trl", per_device_train_batch_size=batch, beta=beta, learning_rate=rate, max_length=None,
            **PLAIN,
        )  # fmt: skip
        self.trainer: Any = DPOTrainer(
            model=peer.model, args=settings, train_dataset=self.dataset(pairs), processing_class=peer.processor,
            peft_config=peer.lora, callbacks=[self.clock],
        )  # fmt: skip
        self.trainer.remove_callback(PrinterCallback)

    def dataset(self, pairs: Sequence[PreferencePair]) -> Dataset:
        """Pairs as TRL wants them: texts, and pictures as PNG."""
        end = self.peer.processor.tokenizer.eos_token
        columns = {
            "prompt": [self.peer.text(p.observation) for p in pairs],
            "chosen": [p.chosen.text + end for p in pairs],
            "rejected": [p.rejected.text + end for p in pairs],
            "images": [[Picture.fromarray(image) for image in p.observation.images] for p in pairs],
        }
        texts = {name: Value("string") for name in ("prompt", "chosen", "rejected")}
        return Dataset.from_dict(columns, features=Features({**texts, "images": List(Image())}))

    def copy(self, policy: Policy) -> None:
        """Take over the candidate's weights."""
        theirs = {n.replace(".default.", "."): p for n, p in self.trainer.model.named_parameters() if ".default." in n}
        with torch.no_grad():
            for name, parameter in policy.adapters.tensors(CANDIDATE).items():
                theirs[name].copy_(parameter)

    def loss(self, pairs: Sequence[PreferencePair]) -> float:
        """Mean loss over pairs, the reference being the model without its adapter."""
        batch = self.trainer.data_collator(list(self.dataset(pairs)))
        with torch.no_grad():
            return float(self.trainer.compute_loss(self.trainer.model, self.trainer._prepare_inputs(batch)))

    def learn(self, dataset: Dataset) -> float:
        """One pass; seconds."""
        self.trainer.train_dataset = dataset
        self.trainer.train()
        return self.clock.seconds


class TrlGrpo:
    """A warm GRPOTrainer; rewards are drawn at random, so that no group is flat."""

    def __init__(
        self, peer: Peer, first: Sequence[Observation], size: int, new_tokens: int, rate: float, groups: int
    ) -> None:
        self.clock = Clock()
        self.rng = torch.Generator().manual_seed(0)
        settings = GRPOConfig(
            output_dir="runs/trl", per_device_train_batch_size=groups * size, num_generations=size,
            max_completion_length=new_tokens, learning_rate=rate, beta=0.0, temperature=1.0, top_k=0, top_p=1.0,
            **PLAIN,
        )  # fmt: skip
        self.trainer: Any = GRPOTrainer(
            model=peer.model, args=settings, train_dataset=self.dataset(first), processing_class=peer.processor,
            peft_config=peer.lora, reward_funcs=self.reward, callbacks=[self.clock],
        )  # fmt: skip
        self.trainer.remove_callback(PrinterCallback)

    def reward(self, completions: Sequence[Any], **_: Any) -> list[float]:
        return torch.rand(len(completions), generator=self.rng).tolist()

    def dataset(self, observations: Sequence[Observation]) -> Dataset:
        """Prompts as TRL wants them: a message, and pictures as PNG."""
        columns = {
            "prompt": [[{"role": "user", "content": o.text.replace(IMAGE_MARK, "")}] for o in observations],
            "images": [[Picture.fromarray(image) for image in o.images] for o in observations],
        }
        message = List({"role": Value("string"), "content": Value("string")})
        return Dataset.from_dict(columns, features=Features({"prompt": message, "images": List(Image())}))

    def learn(self, dataset: Dataset) -> float:
        """One pass: sampling and one optimizer step a batch; seconds."""
        self.trainer.train_dataset = dataset
        self.trainer.train()
        return self.clock.seconds
