"""One exam, and two exams compared on the seeds both sat. Pure Python, no clock, no files."""

from dataclasses import dataclass
from math import inf, sqrt

Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


@dataclass(frozen=True, slots=True)
class ExamResult:
    """One exam of one regime: `success[k]` is the outcome on the frozen seed `seeds[k]`.

    Raises:
        ValueError: fewer than two seeds (nothing to split), a seed twice, or lengths that differ.
    """

    task: str
    seeds: tuple[int, ...]
    success: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.seeds) != len(self.success) or len(set(self.seeds)) != len(self.seeds) or len(self.seeds) < 2:
            raise ValueError(f"exam of {self.task}: needs 2 or more different seeds and one outcome for each")

    @property
    def mean(self) -> float:
        """Share of seeds that went right, 0..1."""
        return sum(self.success) / len(self.success)

    @property
    def half_width(self) -> float:
        """Half of Wilson's 95 % interval: unlike the normal one it is not 0 when every seed went right."""
        n, p = len(self.success), self.mean
        return Z95 / (1 + Z95**2 / n) * sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))


def discordant(before: ExamResult, after: ExamResult) -> tuple[int, int, int]:
    """(wrong -> right, right -> wrong, seeds both sat).

    Raises:
        ValueError: the two share no seed.
    """
    old, new = (dict(zip(result.seeds, result.success, strict=True)) for result in (before, after))
    shared = old.keys() & new.keys()
    if not shared:
        raise ValueError(f"the two exams of {before.task} share no seed: they cannot be compared")
    return sum(new[s] and not old[s] for s in shared), sum(old[s] and not new[s] for s in shared), len(shared)


def gain(before: ExamResult, after: ExamResult) -> float:
    """Difference of success on the seeds both sat."""
    better, worse, seeds = discordant(before, after)
    return (better - worse) / seeds


def gain_lower_bound(before: ExamResult, after: ExamResult, z: float = 1.6448536269514722) -> float:
    """One-sided 95 % lower bound of `gain`, from the seeds whose outcome changed.

    Tango's score interval for paired proportions (Statistics in Medicine 17, 1998): deterministic, and honest for few
    seeds, where a percentile bootstrap calls three lucky seeds a sure gain. Above 0 only if the exact sign test
    (McNemar's) agrees at 5 %, so that equal agents pass at most once in twenty.
    """
    better, worse, seeds = discordant(before, after)
    low, high = -1.0, (better - worse) / seeds
    for _ in range(50):  # Tango's statistic falls as the supposed gain rises: bisect where it crosses z
        middle = (low + high) / 2
        low, high = (middle, high) if _tango(better, worse, seeds, middle) > z else (low, middle)
    return min(high, 0.0) if sign_test(better, worse) > 0.05 else high


def sign_test(better: int, worse: int) -> float:
    """One-sided exact p-value of `better` against `worse` if both were equally likely."""
    tosses = better + worse
    ways = term = 1  # comb(tosses, tosses), then downwards: integers, so exact
    for k in range(tosses, better, -1):
        term = term * k // (tosses - k + 1)
        ways += term
    return ways / 2**tosses


def _tango(better: int, worse: int, n: int, delta: float) -> float:
    """Score statistic of the hypothesis that the true gain is `delta` (-1..1)."""
    a, b, c = 2 * n, (2 * n - better + worse) * delta - better - worse, -worse * delta * (1 - delta)
    worse_share = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * worse_share + delta * (1 - delta))
    return (better - worse - n * delta) / sqrt(variance) if variance > 1e-12 else inf
