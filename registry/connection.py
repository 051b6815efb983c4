"""How MLflow is reached: which store, which experiment, where artifacts lie.

Everything goes through ``MlflowClient`` and aliases; MLflow's stages and its global "active run"
are not used, so that nothing here meets a run that a pipeline has open.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from roadwork.environment import Environment, silence_telemetry
from roadwork.errors import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "ALIASES",
    "Registry",
    "as_default",
    "existing_registry",
    "open_registry",
    "registry_errors",
]

ALIASES: tuple[str, ...] = ("candidate", "champion", "previous")
"""Aliases that roadwork sets: newest registered, serving, serving before that."""

DATABASE = "mlflow.db"
ARTIFACTS = "mlflow-artifacts"


@dataclass(frozen=True)
class Registry:
    """One registered model in one MLflow.

    Attributes:
        uri: MLflow's tracking and registry address.
        artifacts: where a new experiment keeps artifacts; None: MLflow's server decides.
        runs: folder of local outputs: the promotions log and downloaded bundles.
        model_name: name of the registered model.
        experiment: name of the experiment that receives runs.
    """

    uri: str
    artifacts: str | None
    runs: Path
    model_name: str = "roadwork"
    experiment: str = "roadwork"

    @property
    def is_local(self) -> bool:
        """Whether the store is a file of this machine, used by nobody elsewhere."""
        return self.uri.startswith("sqlite:")

    @property
    def ledger(self) -> Path:
        """The append-only log of promotions."""
        return self.runs / "promotions.jsonl"

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client for this address; a new SQLite store is set up on the way."""
        client_class = _import_mlflow()
        if self.is_local:
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        with registry_errors(f"cannot open MLflow at {self.uri}"):
            return client_class(tracking_uri=self.uri, registry_uri=self.uri)

    def experiment_id(self) -> str:
        """Identifier of the experiment, which is created with its artifact location if need be."""
        with registry_errors(f"cannot open the experiment {self.experiment!r}"):
            found = self.client.get_experiment_by_name(self.experiment)
            if found is None:
                return self.client.create_experiment(self.experiment, self.artifacts)
        if found.lifecycle_stage != "active":
            raise RegistryError(
                f"the experiment {self.experiment!r} was deleted in MLflow: restore it there "
                f"(`mlflow experiments restore -x {found.experiment_id}`), or name another one in "
                "register.experiment"
            )
        return found.experiment_id


def open_registry(
    environment: Environment | None = None,
    runs: Path | None = None,
    *,
    model_name: str = "roadwork",
    experiment: str = "roadwork",
) -> Registry:
    """The registry that the environment names; by default SQLite in the runs folder.

    Args:
        environment: ``ROADWORK_*`` variables; read from the process by default.
        runs: folder of outputs; by default the environment's.
        model_name: registered model (``register.model_name`` of the settings).
        experiment: experiment of new runs (``register.experiment`` of the settings).
    """
    environment = environment or Environment()
    folder = (runs or environment.runs).expanduser().resolve()
    uri = environment.mlflow_uri or f"sqlite:///{folder / DATABASE}"
    artifacts = environment.mlflow_artifacts
    if artifacts is None and uri.startswith("sqlite:"):
        # Without a location MLflow would write to ./mlruns of whatever folder it is started in.
        artifacts = str(folder / ARTIFACTS)
    elif artifacts is not None and not urlparse(artifacts).scheme:
        artifacts = str(Path(artifacts).expanduser().resolve())
    return Registry(uri, artifacts, folder, model_name, experiment)


def existing_registry(
    environment: Environment | None = None,
    runs: Path | None = None,
    *,
    model_name: str = "roadwork",
) -> Registry:
    """The same registry for reading: a SQLite store that does not exist is not created.

    Raises:
        RegistryError: there is no store yet.
    """
    registry = open_registry(environment, runs, model_name=model_name)
    database = Path(registry.uri.removeprefix("sqlite:///"))
    if registry.is_local and not database.is_file():
        raise RegistryError(
            f"there is no model registry yet ({database} does not exist): run `make demo`, or set "
            "ROADWORK_RUNS or ROADWORK_MLFLOW_URI to where one is"
        )
    return registry


@contextmanager
def registry_errors(action: str) -> Iterator[None]:
    """Turn MLflow's errors into :class:`RegistryError`, with what was attempted.

    Raises:
        RegistryError: MLflow or its database refused.
    """
    _import_mlflow()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        message = " ".join(str(error).split())
        raise RegistryError(f"{action}: {message}") from error


@contextmanager
def as_default(registry: Registry) -> Iterator[None]:
    """Make the registry MLflow's default store for a moment.

    MLflow resolves ``models:/m-...`` sources through its global address, whatever the client's.
    """
    import mlflow

    variable = "MLFLOW_TRACKING_URI"
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    exported = os.environ.get(variable)
    mlflow.set_tracking_uri(registry.uri)
    try:
        yield
    finally:
        # MLflow reads None as "not set", although its signature does not say so.
        mlflow.set_tracking_uri(before)  # pyright: ignore[reportArgumentType]
        if exported is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = exported


def _import_mlflow() -> type[MlflowClient]:
    silence_telemetry()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Standard output belongs to the command: it may be JSON.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    try:
        from mlflow import MlflowClient
    except ModuleNotFoundError as error:
        if error.name != "mlflow":
            raise
        raise RegistryError(
            'the model registry needs MLflow: pip install "roadwork[pipeline]"; a bundle can also '
            "be named by its folder, without a registry"
        ) from None
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient
