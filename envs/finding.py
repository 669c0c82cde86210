"""`module:Id` -> what Gymnasium needs to make the world."""

import difflib

import gymnasium
from gymnasium.envs.registration import EnvSpec

from envs.component import UserError, import_announced


def find_spec(world_id: str) -> EnvSpec:
    """Import the module of `module:Id` and look its id up. A module that isn't ours is named in the log before.

    Raises:
        UserError: no such module or id; the nearest id is named.
    """
    module, _, name = world_id.rpartition(":")
    if module:
        _import(module, world_id)
    spec = gymnasium.registry.get(name)
    if spec is None:
        close = difflib.get_close_matches(name, gymnasium.registry, n=1, cutoff=0.5)
        remedy = f"Did you mean '{close[0]}'?" if close else "Write MODULE:ID, with the module that registers it."
        raise UserError(f"no world {name!r}{f' in {module}' if module else ''}. {remedy}")
    return spec


def _import(module: str, world_id: str) -> None:
    try:
        import_announced(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in (module, module.split(".")[0]):
            raise UserError(
                f"world {world_id!r}: there is no module {module!r}. "
                "Install its package, or put its file in the stream's folder."
            ) from error
        raise UserError(
            f"world {world_id!r}: importing {module!r} failed with {type(error).__name__}: {error}. Mend the module."
        ) from error
