"""The stream's agent in MLflow's model registry: a version for each adapter, and two aliases.

`champion` is the adapter that holds, `previous` the one that `holdtrue rollback` goes back to. The run's own database
decides which these are; what was changed in the registry by hand is mended, and said.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CYCLE = "holdtrue.cycle"
ALIASES = ("previous", "champion")
"""In this order: a kill between the two leaves `champion` where it was."""

ChildOf = Callable[[int], Any]
"""The MLflow run of a cycle, or None."""


class Registry:
    """Versions and aliases of one registered model, through MLflow's client."""

    def __init__(self, client: Any, name: str, folder: Path) -> None:
        self.client = client
        self.name = name
        self.folder = folder

    def register(self, run: Any, cycle: int, adapter: str, tags: Mapping[str, str], description: str) -> str:
        """The adapter as a version, or the version that it is already."""
        self._require_model()
        known = self.version_of(cycle)
        if known is not None:
            return known
        self.client.log_artifacts(run.info.run_id, str(self.folder / adapter), "adapter")
        source = f"{run.info.artifact_uri}/adapter"
        told = {CYCLE: str(cycle), **tags}
        made = self.client.create_model_version(self.name, source, run.info.run_id, told, description=description)
        return str(made.version)

    def version_of(self, cycle: int) -> str | None:
        """The version that a cycle's adapter is."""
        found = self.client.search_model_versions(f"name = '{self.name}' and tags.`{CYCLE}` = '{cycle}'")
        return str(found[0].version) if found else None

    def align(
        self, standing: Mapping[str, int | None], left: Mapping[str, Any], child_of: ChildOf
    ) -> tuple[dict[str, Any], list[str]]:
        """Let the aliases name what they should, after a repeat as well.

        Args:
            standing: for each alias the cycle whose adapter it names, or None.
            left: what this returned last: `standing` then, and `named`, the versions; empty the first time.
            child_of: finds the run by which a lost version is registered anew.

        Returns:
            What to give it next time, and a sentence on each thing that somebody else had changed.
        """
        last = left.get("named", {})
        same = left.get("standing", dict.fromkeys(ALIASES)) == dict(standing)
        if same and self._found() == (last or None):  # as most cycles find it: one question is enough
            return dict(left), []
        if not last and not any(standing.values()):
            return {}, []
        notes: list[str] = []
        if self._require_model() and last:
            notes.append(
                f"The registered model {self.name} was deleted by hand: it is made anew, with the adapters that "
                "still have an alias."
            )
        named: dict[str, str] = {}
        for alias in ALIASES:
            cycle = standing[alias]
            version = None if cycle is None else self._version(cycle, alias, child_of, notes)
            notes += self._point(alias, version, last.get(alias))
            named |= {alias: version} if version is not None else {}
        return {"standing": dict(standing), "named": named}, notes

    def _point(self, alias: str, version: str | None, last: str | None) -> list[str]:
        """Move one alias; a sentence if it was not where it was left."""
        found = self._aliases().get(alias)
        if found == version:
            return []
        if version is None:
            self.client.delete_registered_model_alias(self.name, alias)
        else:
            self.client.set_registered_model_alias(self.name, alias, version)
        if last is None or found == last:
            return []
        changed = "deleted" if found is None else f"moved to version {found}"
        now = "is gone" if version is None else f"names version {version}"
        return [
            f"The alias '{alias}' of {self.name} was {changed} by hand: it {now} again, since the run's own database "
            "decides. Another champion is had by: holdtrue rollback --to CYCLE"
        ]

    def _version(self, cycle: int, alias: str, child_of: ChildOf, notes: list[str]) -> str | None:
        """The version of a cycle's adapter; registered anew from the run's folder where somebody deleted it."""
        known = self.version_of(cycle)
        if known is not None:
            return known
        run = child_of(cycle)
        adapter = self.folder / f"adapters/cycle-{cycle:03d}"
        if run is None or not adapter.is_dir():
            notes.append(
                f"The version of cycle {cycle}, which '{alias}' names, was deleted by hand and can't be registered "
                f"anew: {'its run in MLflow' if run is None else adapter} is gone, too. The champion itself is "
                "not touched."
            )
            return None
        version = self.register(run, cycle, adapter.relative_to(self.folder).as_posix(), {}, "registered anew")
        notes.append(f"The version of cycle {cycle} was deleted by hand: it is registered anew as version {version}.")
        return version

    def _require_model(self) -> bool:
        """Make the registered model; True if it was not there."""
        if self.client.search_registered_models(f"name = '{self.name}'"):
            return False
        self.client.create_registered_model(self.name, description=f"Adapters of the stream {self.name}.")
        return True

    def _found(self) -> dict[str, str] | None:
        """The aliases as they are; None where there are none."""
        found = self.client.search_registered_models(f"name = '{self.name}'")
        return {alias: str(version) for alias, version in found[0].aliases.items()} or None if found else None

    def _aliases(self) -> dict[str, str]:
        aliases = self.client.get_registered_model(self.name).aliases
        return {alias: str(version) for alias, version in aliases.items()}  # int or str, by store
