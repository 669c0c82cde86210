"""Whether a checkpoint will work here: what it is, what was done for it, and one round trip with its speed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch

from agent.batch import Sample
from agent.finite import NotFinite
from agent.lvlm.checkpoint import Checkpoint
from agent.lvlm.families import looks_across, takes, turns_by_grid
from agent.policy import Policy
from envs.component import UserError
from envs.types import IMAGE_MARK, Choices, Observation, Reply

CHOICES = ("turn left", "turn right", "go forward", "pick up the ball")
BATCH = 8
SIDE = 224
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.2}
"""Most nats by which acting and scoring may differ: bfloat16 has three digits."""
TRIED = (ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Speed:
    """Closed-set decisions per second at a batch of `BATCH`: on observations never seen, and on the same once more."""

    fresh: float
    again: float


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What came of acting, scoring and one optimizer step.

    Attributes:
        closed, opened: a reply from a closed set, and one of any text.
        difference: most nats between what was paid in acting and what scoring says of the same answers.
        prompt_tokens: of the prompt, pieces of the picture included.
        picture_tokens: of its one picture.
        step_seconds: of one optimizer step over `BATCH` decisions, forward and backward.
    """

    closed: str
    opened: str
    difference: float
    prompt_tokens: int
    picture_tokens: int
    speed: Speed
    step_seconds: float


def round_trip(policy: Policy) -> RoundTrip:
    """Act, score, and take one optimizer step that is then forgotten.

    Raises:
        UserError: something of it fails, or acting and scoring disagree.
    """
    try:
        return _round_trip(policy)
    except TRIED as error:
        kind = type(policy.checkpoint.model).__name__
        raise UserError(f"a {kind} loads, but does not work here: {type(error).__name__}: {error}") from error
    finally:
        policy.discard()


def _round_trip(policy: Policy) -> RoundTrip:
    sees = policy.checkpoint.sees
    observations = [_observation(sees, seed) for seed in range(BATCH)]
    _act(policy, [_observation(sees, BATCH)], CHOICES)  # what is paid once: trees, processor, allocator
    started = time.perf_counter()
    closed = _act(policy, observations, CHOICES)
    fresh = time.perf_counter() - started
    started = time.perf_counter()
    _act(policy, observations, CHOICES)
    again = time.perf_counter() - started
    opened = _act(policy, observations[:2], None)
    samples = [
        *_samples(observations, CHOICES, closed),
        *_samples(observations, None, opened),
    ]
    with torch.no_grad():
        scored = policy.score(samples).sums
    paid = torch.tensor([float(reply.logprobs.sum()) for reply in (*closed, *opened)])
    difference = float((scored - paid).abs().max())
    if not difference <= TOLERANCE[policy.engine.embed.weight.dtype]:  # so that not-a-number is caught too
        raise NotFinite(f"acting and scoring one answer differ by {difference:.2g} nats")
    started = time.perf_counter()
    _step(policy, samples[:BATCH])
    step = time.perf_counter() - started
    ids = policy.prompter.prompt(observations[0]).ids
    return RoundTrip(
        closed[0].text, opened[0].text, difference, len(ids), int((ids == policy.checkpoint.image_token).sum()),
        Speed(BATCH / fresh, BATCH / again), step,
    )  # fmt: skip


def _observation(sees: bool, seed: int) -> Observation:
    """A picture of noise and a task; the task alone for a text-only model."""
    picture = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    text = f"Go to the red ball. Say: {', '.join(CHOICES)}."
    return Observation(IMAGE_MARK + text, (picture,)) if sees else Observation(f"{seed}. {text}")


def _act(policy: Policy, observations: Sequence[Observation], choices: Choices) -> list[Reply]:
    rngs = [np.random.default_rng(i) for i in range(len(observations))]
    return policy.act(observations, [choices] * len(observations), rngs)


def _samples(observations: Sequence[Observation], choices: Choices, replies: Sequence[Reply]) -> list[Sample]:
    said = zip(observations, replies, strict=False)
    return [Sample(observation, choices, reply.tokens, reply.logprobs) for observation, reply in said]


def _step(policy: Policy, samples: Sequence[Sample]) -> None:
    """One optimizer step of the candidate; the weights must move, and stay finite."""
    policy.fork()
    before = policy.version
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-4)
    (-policy.score(samples).sums.mean()).backward()
    optimizer.step()
    if policy.version == before:
        raise ValueError("an optimizer step moves none of the adapter's weights")
    if not all(torch.isfinite(parameter).all() for parameter in policy.parameters()):
        raise NotFinite("an optimizer step makes weights that are no numbers")


def describe(policy: Policy) -> list[tuple[str, str]]:
    """What the checkpoint is, and what is done for it: (what, in words)."""
    checkpoint, adapters = policy.checkpoint, policy.adapters
    device, dtype = policy.engine.device, policy.engine.embed.weight.dtype
    trainable = sum(parameter.numel() for parameter in policy.parameters())
    threads = f", {policy.threads} thread{'s' if policy.threads > 1 else ''}" if device.type == "cpu" else ""
    lora = adapters.settings
    return [
        ("family", f"{checkpoint.model.config.model_type} ({type(checkpoint.model).__name__})"),
        ("sizes", _sizes(checkpoint)),
        ("runs", f"on {device.type} in {str(dtype).removeprefix('torch.')}{threads}, {policy.engine.way}"),
        ("tokens per forward", f"{policy.budget.tokens:,} (prompts up to {policy.prompter.longest:,})"),
        ("quirks", "; ".join(_quirks(policy)) or "none"),
        (
            "adapters",
            f"LoRA of rank {lora.rank}, alpha {lora.alpha:g}, on {len(adapters.modules)} layers: "
            f"{trainable:,} trainable parameters ({_megabytes(trainable * 4)} a version)",
        ),
        ("adapted", ", ".join(_patterns(adapters.modules))),
    ]


def _sizes(checkpoint: Checkpoint) -> str:
    """Parameters of the base model, whole and by part."""
    model = checkpoint.model
    own = {name: p for name, p in model.named_parameters() if ".lora_" not in name}
    eyes = {id(p) for p in model.get_encoder("image").parameters()} if checkpoint.sees else set()
    parts = {"language tower": 0, "vision tower": 0, "projector and head": 0}
    for name, parameter in own.items():
        part = "vision tower" if id(parameter) in eyes else "projector and head"
        parts["language tower" if name.startswith(f"{checkpoint.tower}.") else part] += parameter.numel()
    told = ", ".join(f"{name} {_millions(count)}" for name, count in parts.items() if count)
    bytes_ = sum(p.nbytes for p in own.values())
    return f"{_millions(sum(parts.values()))} parameters ({_megabytes(bytes_)}): {told}"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.2f} M"


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


def _quirks(policy: Policy) -> list[str]:
    """What differs from a model that reads words and pictures in order."""
    checkpoint = policy.checkpoint
    model, processor = checkpoint.model, checkpoint.processor
    out = []
    if not checkpoint.sees:
        out.append("text-only: for worlds without pictures")
    elif looks_across(model):
        out.append("pictures are looked at by cross attention")
    if checkpoint.sees and turns_by_grid(model):
        out.append("positions follow a picture's grid")
    if policy.vision.together:
        out.append("pictures of one prompt are looked at together")
    if any("token_type" in name for name in policy.prompter.prompt(_observation(checkpoint.sees, 0)).tokens):
        out.append("token types are handed over")
    if checkpoint.sees and "video_processor" in takes(type(processor).__init__):
        out.append("the processor's video part is left out")
    if policy.prompter.template is None:
        out.append("no chat template: the world's words are given as they are")
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    if window:
        out.append(f"a sliding window of {window} tokens")
    if policy.vision.trained:
        out.append("pictures are looked at anew each time: the tower or the projector is adapted")
    return out


def _patterns(modules: Sequence[str]) -> list[str]:
    """Names of layers with their numbers left out, each once, with how many there are."""
    counts: dict[str, int] = {}
    for name in modules:
        pattern = ".".join("*" if part.isdigit() else part for part in name.split("."))
        counts[pattern] = counts.get(pattern, 0) + 1
    shared = "".join(c[0] for c in takewhile(lambda c: len(set(c)) == 1, zip(*counts, strict=False)))
    head = shared[: shared.rfind(".") + 1] if len(counts) > 1 else ""
    return [f"{head}({', '.join(f'{name.removeprefix(head)} x{count}' for name, count in counts.items())})"]
