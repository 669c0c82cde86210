"""What an update says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """The result of one update.

    Attributes:
        optimizer_steps: how often weights changed.
        samples_new: decisions learned from that this cycle collected.
        samples_rehearsed: remembered decisions rehearsed, counted with repeats.
        kl_new: KL(champion || candidate) in nats per decision, on observations of the trained task; None if unknown.
        kl_old_tasks: the same on remembered observations of old tasks; None without rehearsal. Of a
            promoted share of the way, it is the share's own; everything else here is of the whole way.
        skipped: why nothing (more) was learned, or an empty string.
        stopped: why a guard ended it early, or an empty string.
        flops: floating-point operations of the model in it, rollouts included.
        metrics: means over the update, by the names each update explains.
        reason: why this algorithm was taken, where there was a choice.
    """

    algorithm: str
    optimizer_steps: int
    samples_new: int
    samples_rehearsed: int
    kl_new: float | None
    kl_old_tasks: float | None
    skipped: str = ""
    stopped: str = ""
    flops: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
