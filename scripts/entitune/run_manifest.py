"""The manifest of a finished run and seed: `results/{run}/seed-{seed}/manifest.json`. Needs pydantic."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from entitune.cli import InputError
from entitune.files import read_json, write_json
from entitune.job_records import Hardware, JobRecord, PeakOf
from entitune.left_out import LeftOut


class GitVersion(BaseModel):
    """The state of EntiTune's own repository; without a repository both are None."""

    model_config = ConfigDict(frozen=True)

    commit: str | None
    modified: bool | None


class Stage(BaseModel):
    """The cost and the node of a job. The time of a job for several runs or seeds is divided by their number."""

    model_config = ConfigDict(frozen=True)

    date: str
    """The start: ISO 8601, UTC."""
    wall_seconds: float
    peak_memory_mb: int
    """In MiB."""
    peak_memory_of: PeakOf
    hardware: Hardware
    lock: str | None
    """The lock file of the engine's environment; None if the job starts no engine."""

    @classmethod
    def of(cls, record: JobRecord, shared_by: int = 1) -> Self:
        """Return the stage of a job for `shared_by` runs and seeds."""
        return cls(
            date=record.date,
            wall_seconds=record.seconds / shared_by,
            peak_memory_mb=record.peak_memory_mb,
            peak_memory_of=record.peak_memory_of,
            hardware=record.hardware,
            lock=record.lock,
        )


class Checkpoint(BaseModel):
    """The checkpoint that was chosen as the adapter."""

    model_config = ConfigDict(frozen=True)

    step: int
    why: str
    f1: dict[str, float]
    """Step -> micro F1 on the held-out rows."""


class _Named(BaseModel):
    name: str


class _Settings(BaseModel):
    """What every kind of run has in its settings."""

    run: str
    kind: str
    seed: int
    dataset: _Named


class RunManifest(BaseModel):
    """What the scores of a run and seed were made from."""

    model_config = ConfigDict(frozen=True)

    version: str
    """EntiTune's version."""
    git: GitVersion
    code_sha256: str
    config: dict[str, Any]
    """The run with all entries of conf/ that it names, as `settings()` of its kind returns them."""
    checkpoint: Checkpoint | None = None
    """None if the adapter is the training's last checkpoint, or if nothing is trained."""
    left_out: list[LeftOut]
    files: dict[str, str]
    """File -> SHA-256."""
    engines: dict[str, dict[str, str]]
    """Environment -> package -> version."""
    stages: dict[str, Stage]

    @field_validator("config")
    @classmethod
    def _is_of_a_run(cls, config: dict[str, Any]) -> dict[str, Any]:
        _Settings.model_validate(config)
        return config

    @property
    def run(self) -> str:
        """The name of the run."""
        return str(self.config["run"])

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.config["seed"])

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return str(self.config["dataset"]["name"])

    @property
    def wall_seconds(self) -> float:
        """The time of all jobs together."""
        return sum(stage.wall_seconds for stage in self.stages.values())

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a manifest. Raises InputError if the file is not the manifest of a run."""
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise InputError(
                f"{path}: not the manifest of a run ({where}: {first['msg']}); delete it and run the same command again"
            ) from error

    def write(self, path: str | Path) -> None:
        """Write the manifest."""
        absent = {"checkpoint"} if self.checkpoint is None else set()
        write_json(path, self.model_dump(mode="json", exclude=absent))
