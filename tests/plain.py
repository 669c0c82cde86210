"""Closed sets worked out the long way: one plain forward an answer, as the oracle of the token tree."""

from collections.abc import Callable, Sequence

import numpy as np
import torch


def closed_log_probs(answers: Sequence[np.ndarray], logits: Callable[[np.ndarray], torch.Tensor]) -> np.ndarray:
    """Log-probs of the answers, each decision renormalised over what the set allows there.

    Args:
        answers: ids of each with the end token, int64 `[T]`.
        logits: gives `[T, V]` that predict each of some tokens behind the prompt.
    """
    out = np.zeros(len(answers))
    for i, answer in enumerate(answers):
        predicted = logits(answer)
        for t, token in enumerate(answer):
            allowed = sorted({int(a[t]) for a in answers if len(a) > t and np.array_equal(a[:t], answer[:t])})
            out[i] += float(torch.log_softmax(predicted[t, allowed], 0)[allowed.index(int(token))])
    return out
