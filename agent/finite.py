"""Numbers that are no numbers: found early, named, and never learned from."""

import torch

from envs.component import UserError


class NotFinite(ArithmeticError):
    """A loss, a gradient or a probability was NaN or infinite. It ends the cycle as refused, never the process."""


def check_weights(model: torch.nn.Module) -> None:
    """Make sure that every weight is a finite number. One pass over them, without a copy.

    Raises:
        UserError: naming the first that is not.
    """
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight.detach().sum()) and not torch.isfinite(weight.detach()).all():
            raise UserError(f"the weights of {name} hold NaN or infinite numbers: get the checkpoint anew.")
