"""TRL as an oracle: on the same pairs under the same weights, its losses are ours.

TRL may say every token, so here ours may too: nothing is banned. Its reference is the model without adapters. One
trainer is built, and told another loss each time.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from agent import preference_losses as losses
from agent.batch import Sample, Scores
from agent.losses import masked_mean
from agent.lvlm.adapters import BASE, CANDIDATE, LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.policy import Policy
from envs.types import Observation

BETA = 0.3
SMOOTHING = 0.2
ASKED = ("go to the red ball", "say the word", "turn left or right, whichever leads to the red ball", "go")
CHOSEN = ("turn left", "red ball red", "go forward", "say the word")
REJECTED = ("go forward", "ball", "turn right now", "turn left turn left")


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (56, 56, 3), dtype=np.uint8)


SEEN = [Observation(f"<image>{text}", (noise(i),)) for i, text in enumerate(ASKED)]


@pytest.fixture(scope="module")
def policy(tiny_folder: Path) -> Policy:
    """With a candidate that was moved away from the base."""
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4))
    policy.speaker.banned = []
    policy.fork()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in policy.adapters.tensors(CANDIDATE).values():
            tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
    return policy


@pytest.fixture(scope="module")
def trainer(policy: Policy, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """TRL's trainer of the same checkpoint, with the candidate's weights."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils.logging import disable_progress_bar
    from trl import DPOConfig, DPOTrainer

    disable_progress_bar()
    modules = policy.adapters.peft.peft_config[CANDIDATE].target_modules
    trainer = DPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(tiny_folder, dtype=torch.float32),
        args=DPOConfig(
            output_dir=str(tmp_path_factory.mktemp("trl")), use_cpu=True, bf16=False, report_to="none", beta=BETA,
            max_length=None, gradient_checkpointing=False, disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(examples(policy, CHOSEN, REJECTED)),
        processing_class=AutoProcessor.from_pretrained(tiny_folder),
        peft_config=LoraConfig(r=4, lora_alpha=LoraSettings().alpha, target_modules=modules),
    )  # fmt: skip
    ours = policy.adapters.tensors(CANDIDATE)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if ".default." in name:
                parameter.copy_(ours[name.replace(".default.", ".")])
    return trainer


def examples(policy: Policy, chosen: tuple[str, ...], rejected: tuple[str, ...]) -> list[dict[str, Any]]:
    end = policy.prompter.tokenizer.eos_token
    return [
        {
            "prompt": policy.prompter.render(seen.text.split("<image>")),
            "chosen": better + end,
            "rejected": worse + end,
            "images": [Image.fromarray(image) for image in seen.images],
        }
        for seen, better, worse in zip(SEEN, chosen, rejected, strict=True)
    ]


def theirs(
    trainer: Any, policy: Policy, loss: str, chosen: tuple[str, ...] = CHOSEN, rejected: tuple[str, ...] = REJECTED
) -> float:
    trainer.loss_types = [loss]
    batch = trainer.data_collator(examples(policy, chosen, rejected))
    with torch.no_grad():
        return float(trainer.compute_loss(trainer.model, batch))


def scored(policy: Policy, texts: tuple[str, ...]) -> Scores:
    answers = [policy.prompter.answer(text) for text in texts]
    with torch.no_grad():
        return policy.score(
            [Sample(seen, None, ids, np.zeros(len(ids))) for seen, ids in zip(SEEN, answers, strict=True)]
        )


def sides(policy: Policy, per_token: bool) -> list[Tensor]:
    """Chosen and rejected under the candidate, then under the base, `[4]` each; nats, or nats a token."""
    out = []
    for adapter in (CANDIDATE, BASE):
        with policy.using(adapter):
            for texts in (CHOSEN, REJECTED):
                scores = scored(policy, texts)
                out.append(scores.sums / scores.mask.sum(1) if per_token else scores.sums)
    return out


def test_there_is_something_to_compare(policy: Policy) -> None:
    """At the reference all sigmoid losses are log 2, whatever the formula."""
    assert losses.margins(*sides(policy, per_token=False)).abs().max() > 0.1


@pytest.mark.parametrize("name", ["sigmoid", "ipo", "hinge"])
def test_preference_losses(name: str, policy: Policy, trainer: Any) -> None:
    """IPO's log-probs are per token in TRL, as its authors' are."""
    ours: Callable[..., Tensor] = getattr(losses, name)
    each = ours(*sides(policy, per_token=name == "ipo"), beta=BETA)
    assert each.shape == (4,)
    assert float(each.mean()) == pytest.approx(theirs(trainer, policy, name), abs=1e-5)


def test_smoothed_labels(policy: Policy, trainer: Any) -> None:
    """TRL smooths no labels of this loss: what it says of the pairs and of the pairs turned round is mixed here."""
    said = float(losses.sigmoid(*sides(policy, per_token=False), beta=BETA, smoothing=SMOOTHING).mean())
    right, wrong = theirs(trainer, policy, "sigmoid"), theirs(trainer, policy, "sigmoid", REJECTED, CHOSEN)
    assert said == pytest.approx((1 - SMOOTHING) * right + SMOOTHING * wrong, abs=1e-5)


def test_likelihood_of_the_chosen(policy: Policy, trainer: Any) -> None:
    """The mean over all tokens of all chosen answers."""
    scores = scored(policy, CHOSEN)
    said = -float(masked_mean(scores.logprobs, scores.mask))
    assert said == pytest.approx(theirs(trainer, policy, "sft"), abs=1e-5)
