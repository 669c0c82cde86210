"""One exam, and two exams compared on the seeds both sat. Pure Python, no clock, no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist

Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution
ALPHA = 0.05
"""How often a one-sided bound may lie on the wrong side of the truth."""
HARDLY = 0.01
"""How often what is given up halfway might have come right after all."""


@dataclass(frozen=True, slots=True)
class ExamResult:
    """One exam of one regime: `success[k]` is the outcome on the frozen seed `seeds[k]`.

    Attributes:
        cost: what the episode of each seed cost (safety, apart from reward); empty where nothing cost anything.

    Raises:
        ValueError: fewer than two seeds (nothing to split), a seed twice, or lengths that differ.
    """

    task: str
    seeds: tuple[int, ...]
    success: tuple[bool, ...]
    cost: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.seeds) != len(self.success) or len(set(self.seeds)) != len(self.seeds) or len(self.seeds) < 2:
            raise ValueError(f"exam of {self.task}: needs 2 or more different seeds and one outcome for each")
        if self.cost and len(self.cost) != len(self.seeds):
            raise ValueError(f"exam of {self.task}: {len(self.cost)} costs for {len(self.seeds)} seeds")

    @property
    def mean(self) -> float:
        """Share of seeds that went right, 0..1."""
        return sum(self.success) / len(self.success)

    @property
    def mean_cost(self) -> float:
        """Cost per episode."""
        return sum(self.cost) / len(self.seeds)

    @property
    def half_width(self) -> float:
        """Half of Wilson's 95 % interval: unlike the normal one it is not 0 when every seed went right."""
        n, p = len(self.success), self.mean
        return Z95 / (1 + Z95**2 / n) * sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))


def joined(parts: Sequence[ExamResult]) -> ExamResult:
    """An exam that was sat in parts, as one."""
    costs = [part.cost or (0.0,) * len(part.seeds) for part in parts] if any(part.cost for part in parts) else []
    return ExamResult(
        parts[0].task,
        tuple(seed for part in parts for seed in part.seeds),
        tuple(right for part in parts for right in part.success),
        tuple(spent for cost in costs for spent in cost),
    )


def discordant(before: ExamResult, after: ExamResult) -> tuple[int, int, int]:
    """(wrong -> right, right -> wrong, seeds both sat).

    Raises:
        ValueError: the two share no seed.
    """
    old, new = (dict(zip(result.seeds, result.success, strict=True)) for result in (before, after))
    shared = _shared(before, after)
    return sum(new[s] and not old[s] for s in shared), sum(old[s] and not new[s] for s in shared), len(shared)


def gain(before: ExamResult, after: ExamResult) -> float:
    """Difference of success on the seeds both sat."""
    better, worse, seeds = discordant(before, after)
    return (better - worse) / seeds


def gain_on(task: str, before: Mapping[str, ExamResult], after: Mapping[str, ExamResult]) -> float | None:
    """Paired gain on a task: an exam that ended early is compared on what it sat; None where one sat none of it."""
    return gain(before[task], after[task]) if task in before and task in after else None


def gain_lower_bound(before: ExamResult, after: ExamResult, alpha: float = ALPHA) -> float:
    """One-sided lower bound of `gain`, from the seeds whose outcome changed; at level 1 - `alpha`, so 95 %.

    Tango's score interval for paired proportions (Statistics in Medicine 17, 1998): deterministic, and honest for few
    seeds, where a percentile bootstrap calls three lucky seeds a sure gain. Above 0 only if the exact sign test
    (McNemar's) agrees at `alpha`, so that equal agents pass at most once in twenty.
    """
    better, worse, seeds = discordant(before, after)
    z = NormalDist().inv_cdf(1 - alpha)
    low, high = -1.0, (better - worse) / seeds
    for _ in range(50):  # Tango's statistic falls as the supposed gain rises: bisect where it crosses z
        middle = (low + high) / 2
        low, high = (middle, high) if _tango(better, worse, seeds, middle) > z else (low, middle)
    return min(high, 0.0) if sign_test(better, worse) > alpha else high


def prospect(before: ExamResult, part: ExamResult, odds: float = HARDLY) -> tuple[float, float]:
    """What the gain on all seeds of `before` will hardly exceed, if it goes on as in the part that was sat.

    The gain on the seeds to come is normal about the gain so far (stochastic curtailment under the current trend, Lan,
    Simon and Halperin 1982, https://doi.org/10.1080/07474948208836014); of a whole exam it is the gain itself.

    Returns:
        The gain that is exceeded with the probability `odds`, and the standard error of the gain on all seeds.
    """
    better, worse, sat = discordant(before, part)
    seeds = len(before.seeds)
    so_far = (better - worse) / sat
    variance = (better + worse + 1) / sat - so_far**2  # of one seed; the 1 keeps a few equal ones from being sure
    reach = NormalDist().inv_cdf(1 - odds) * sqrt(max(variance, 0.0) * (1 / sat - 1 / seeds))
    return so_far + reach, sqrt(max(variance, 0.0) / seeds)


def cost_rise(before: ExamResult, after: ExamResult, alpha: float = ALPHA) -> tuple[float, float]:
    """Mean rise of cost per episode on the seeds both sat, and its one-sided lower bound at level 1 - `alpha`.

    Normal, from the paired differences; above 0 only if the exact sign test agrees, as with `gain_lower_bound`.
    """
    shared = sorted(_shared(before, after))
    old, new = (dict(zip(r.seeds, r.cost, strict=False)) for r in (before, after))  # no costs: all 0
    rises = [new.get(s, 0.0) - old.get(s, 0.0) for s in shared]
    mean = sum(rises) / len(rises)
    deviation = sqrt(sum((rise - mean) ** 2 for rise in rises) / max(len(rises) - 1, 1))
    low = mean - NormalDist().inv_cdf(1 - alpha) * deviation / sqrt(len(rises))
    chance = sign_test(sum(rise > 0 for rise in rises), sum(rise < 0 for rise in rises))
    return mean, min(low, 0.0) if chance > alpha else low


def sign_test(better: int, worse: int) -> float:
    """One-sided exact p-value of `better` against `worse` if both were equally likely."""
    tosses = better + worse
    ways = term = 1  # comb(tosses, tosses), then downwards: integers, so exact
    for k in range(tosses, better, -1):
        term = term * k // (tosses - k + 1)
        ways += term
    return ways / 2**tosses


def _shared(before: ExamResult, after: ExamResult) -> set[int]:
    shared = set(before.seeds) & set(after.seeds)
    if not shared:
        raise ValueError(f"the two exams of {before.task} share no seed: they cannot be compared")
    return shared


def _tango(better: int, worse: int, n: int, delta: float) -> float:
    """Score statistic of the hypothesis that the true gain is `delta` (-1..1)."""
    a, b, c = 2 * n, (2 * n - better + worse) * delta - better - worse, -worse * delta * (1 - delta)
    worse_share = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * worse_share + delta * (1 - delta))
    return (better - worse - n * delta) / sqrt(variance) if variance > 1e-12 else inf
