"""What several tests of runs begin with."""

from pathlib import Path

import pytest

from schedules.tracking import Tracker


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    Tracker(folder).client.search_experiments()
    return folder / "mlflow.db"
