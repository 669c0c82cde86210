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

from pydantic import BaseModel, ConfigDict

LOG = logging.getLogger(__name__)
OURS = ("agent", "envs", "memory", "schedules")


class UserError(Exception):
    """A mistake the user can mend: the message says what, why and how. Exit code 2, no traceback."""


class Settings(BaseModel):
    """Base of every settings model: nothing unknown is let through, nothing changes after load."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    name = settings.get("type")
    if not isinstance(name, str):
        raise UserError(f"{what}: say which by 'type:', one of {', '.join(names(package))}, or a module of your own.")
    if "." not in name and name not in names(package):
        close = difflib.get_close_matches(name, names(package), n=1)
        hint = f"Did you mean '{close[0]}'?" if close else f"There are: {', '.join(names(package))}."
        raise UserError(f"no {what} '{name}'. {hint}")
    try:
        module = import_announced(name if "." in name else f"{package}.{name}")
    except ModuleNotFoundError as error:
        raise UserError(f"{what} '{name}': {error}. Install it, or put its file in the stream's folder.") from error
    if not hasattr(module, "Config"):
        raise UserError(f"{what} '{name}': the module has no 'Config' (settings with a build method).")
    return module.Config.model_validate({k: v for k, v in settings.items() if k != "type"})


def filled(package: str, settings: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The same settings with the component's defaults filled in; raises as `load` does."""
    checked = load(package, settings, what)
    return {"type": settings["type"], **checked.model_dump(mode="json")}


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
