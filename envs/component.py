"""How a component is found by its name: a component is a module.

`{type: grpo}` under updates means `agent/updates/grpo.py`, which defines `Config`: a pydantic model of its settings
with `build()`. A dotted path (`my_package.my_update`) names a user's own module and works the same.
"""

import difflib
import importlib
import importlib.util
import logging
import pkgutil
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

LOG = logging.getLogger(__name__)
OURS = ("agent", "envs", "memory", "schedules")


class UserError(Exception):
    """A mistake the user can mend: the message says what, why and how. Exit code 2, no traceback."""


class WrongPart(ValueError):
    """A component that stands in another's settings is set wrongly.

    Attributes:
        place: where it stands within the setting that holds it; "" if it is that setting itself.
        cause: what is wrong with it.
        model: its settings, where there are any.
    """

    def __init__(self, place: str, cause: UserError | ValidationError, model: Any = None) -> None:
        super().__init__(f"{place}: {cause}" if place else str(cause))
        self.place, self.cause, self.model = place, cause, model


class Settings(BaseModel):
    """Base of every settings model: nothing unknown and no infinite number is let through, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, ser_json_inf_nan="constants")

    def with_(self, **changes: Any) -> Self:
        """A validated copy with some settings replaced."""
        return self.model_validate({**self.model_dump(), **changes})


def names(package: str) -> list[str]:
    """Names of the components bundled in `package`, for example `agent.updates`."""
    folder = importlib.import_module(package).__path__
    return sorted(m.name for m in pkgutil.iter_modules(folder) if not m.name.startswith("_"))


def load(package: str, settings: Mapping[str, Any], what: str) -> Any:
    """Validate `settings` with the `Config` of the module that its `type` names.

    Args:
        package: where bundled components of this kind live.
        settings: a mapping with `type` and that component's own settings.
        what: the kind's singular name, for messages.

    Raises:
        UserError: no such component, or its module has no `Config`.
        pydantic.ValidationError: a setting is unknown or out of range.
    """
    model = find(package, settings.get("type"), what)
    return model.model_validate({k: v for k, v in settings.items() if k != "type"})


def find(package: str, name: Any, what: str) -> Any:
    """The `Config` of the component `name`; raises UserError as `load` does."""
    if not isinstance(name, str):
        raise UserError(f"{what}: say which by 'type:', one of {', '.join(names(package))}, or a module of your own.")
    if not all(map(str.isidentifier, name.split("."))) or ("." not in name and name not in names(package)):
        close = difflib.get_close_matches(name, names(package), n=1)
        hint = f"Did you mean '{close[0]}'?" if close else f"There are: {', '.join(names(package))}."
        raise UserError(f"no {what} '{name}'. {hint}")
    try:
        module = import_announced(name if "." in name else f"{package}.{name}")
    except ModuleNotFoundError as error:
        raise UserError(f"{what} '{name}': {error}. Install it, or put its file in the stream's folder.") from error
    if not hasattr(module, "Config"):
        raise UserError(f"{what} '{name}': the module has no 'Config' (settings with a build method).")
    return module.Config


def part(package: str, settings: Mapping[str, Any], what: str, place: str = "") -> Any:
    """`load` for a component that stands in another's settings, at `place` within the setting that holds it.

    Raises:
        WrongPart: instead of what `load` raises, so that the whole way to the mistake can be told.
    """
    try:
        return load(package, settings, what)
    except UserError as error:
        raise WrongPart(place, error) from error
    except ValidationError as error:
        raise WrongPart(place, error, find(package, settings["type"], what)) from error


def filled(package: str, settings: Mapping[str, Any], what: str, place: str = "") -> dict[str, Any]:
    """The same settings with the component's defaults filled in; raises as `part` does."""
    return {"type": settings.get("type"), **part(package, settings, what, place).model_dump(mode="json")}


def import_announced(name: str) -> ModuleType:
    """Import a module; the log names one that isn't ours, and its file, before any of its code runs.

    Raises:
        ModuleNotFoundError: it is not there, or something it needs.
    """
    top = name.split(".")[0]
    known = top in OURS or name in sys.modules
    found = None if known else importlib.util.find_spec(top)  # of the top alone: finding a child would import it
    if found is not None:
        LOG.info("importing %s from %s", name, found.origin or ", ".join(found.submodule_search_locations or ()))
    return importlib.import_module(name)
