"""Runs: what each kind is, and every decision about one.

Merged or a LoRA module, the environment that predicts, the model that an engine loads, the engine that runs share, the
files that scores are made from: each is a method here, used by rules, scripts and the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from pydantic import JsonValue

from entitune import paths
from entitune.paths import GroupFiles, PromptData, RunFiles
from entitune.registries import Arguments, Dataset, Decode, ImportedPredictions, Model, PromptFiles, Recipe

GROUP_SIZE = 50
"""Runs and seeds that share an engine, at most: a larger group would lose more when it fails, and make a command too
long for a shell."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What all kinds of runs have. A row of the sheet with a sweep gives one run per combination."""

    kind: ClassVar[str]
    name: str
    row: str
    """The name of the run's row in the sheet."""
    dataset: Dataset
    seeds: tuple[int, ...]

    def files(self, seed: int | str) -> RunFiles:
        """The paths of the run's files for one seed."""
        return RunFiles(self.name, seed)

    @property
    def engines(self) -> list[str]:
        """The environments of the engines that the run's figures need."""
        return []

    def split_files(self, split: str) -> list[str]:
        """The files of a split of the run's dataset, the publisher's and the canonical one."""
        return [paths.raw(self.dataset.name, split), paths.sentences(self.dataset.name, split)]

    def scored_files(self, seed: int, split: str) -> list[str]:
        """The run's predictions and scores, and what scores them."""
        files = self.files(seed)
        return [files.predictions(split), files.scores(split), paths.lock("workflow")]

    @property
    def needed_splits(self) -> list[str]:
        """The splits that must be there for the run's scores on dev."""
        return ["dev"]

    def summaries(self, seed: int, splits: Sequence[str]) -> list[str]:
        """What was left out of the data behind the run's scores of these splits, each file by a step."""
        used = dict.fromkeys([*(["train"] if "train" in self.needed_splits else []), *splits])
        return [paths.conversion(self.dataset.name, split) for split in used]

    def settings(self) -> dict[str, JsonValue]:
        """The run with everything that it names under conf/, for provenance."""
        return {"run": self.name, "kind": self.kind, "dataset": self.dataset.settings()}


@dataclass(frozen=True, kw_only=True)
class BaseRun(_Run):
    """The base model predicts as it is (zero-shot, few-shot)."""

    kind = "base"
    model: Model
    prompt: PromptFiles
    decode: Decode
    lengths_checked_by: str
    """The run of the row whose check that prompts fit the engine holds for this one: the first with its prompt."""

    def data(self, split: str) -> PromptData:
        """The paths of a split under the run's prompt, encoded for its model."""
        windows = f"/windows-{self.limits(split)}" if self.dataset.windows else ""
        return PromptData(self.dataset.name, self.prompt.name, self.model.name, windows)

    def limits(self, split: str) -> str:
        """What the windows of a split must fit in, as their folder is called: context and answer, in tokens."""
        return f"{self.decode.max_model_len}-{self.decode.max_tokens}"

    @property
    def engines(self) -> list[str]:
        # LLaMA-Factory's template makes the token ids, vLLM answers.
        return ["train", self.decode.environment]

    def engine_model(self, seed: int | str) -> str:
        """The list of files, in its folder, of the model that the engine loads."""
        return paths.model(self.model.name)

    def engine_adapter(self, seed: int | str) -> str | None:
        """The adapter that the engine loads on top of the model as a LoRA module, or None."""
        return None

    def encoded(self, split: str) -> list[str]:
        """The files of a split on its way to token ids, in order."""
        data, whole = self.data(split), PromptData(self.dataset.name, self.prompt.name)
        files = [whole.alpaca(split), data.asked(split), data.alpaca(split), data.tokens(split)]
        return [*dict.fromkeys(files), data.parity(split, self.decode.environment)]

    def training_files(self, seed: int | str) -> list[str]:
        """The files that training reads and makes, in order."""
        return []

    @property
    def needed_splits(self) -> list[str]:
        return ["train", "dev"] if self.prompt.shots else ["dev"]

    def summaries(self, seed: int, splits: Sequence[str]) -> list[str]:
        windows = [self.data(split).windows_summary(split) for split in splits if self.dataset.windows]
        return [*super().summaries(seed, splits), *windows]

    def made_from(self, seed: int, split: str, group: GroupFiles) -> list[str]:
        """Every file behind the run's scores of a split, from the publisher's to the scores, and the locks."""
        examples = self.split_files("train") if self.prompt.shots else []
        return [
            *dict.fromkeys([*examples, *self.training_files(seed), *self.split_files(split), *self.encoded(split)]),
            paths.model(self.model.name),
            *([self.engine_model(seed)] if self.engine_model(seed) != paths.model(self.model.name) else []),
            *(group.answers(split, shard) for shard in paths.shards(self.decode.shards)),
            *map(paths.lock, self.engines),
            *self.scored_files(seed, split),
        ]

    def settings(self) -> dict[str, JsonValue]:
        return {
            **super().settings(),
            "model": self.model.settings(),
            "prompt": self.prompt.settings(),
            "decode": self.decode.settings(),
        }


@dataclass(frozen=True, kw_only=True)
class TunedRun(BaseRun):
    """A LoRA adapter is trained by a recipe."""

    kind = "tuned"
    recipe: Recipe
    arguments: Arguments = field(hash=False)
    """LLaMA-Factory's hyper-parameters: the recipe's file under the sweep's values."""
    overrides: Arguments = field(default_factory=dict, hash=False)
    """The sweep's values."""

    @property
    def cutoff(self) -> int:
        """The longest row in tokens, prompt and answer."""
        cutoff = self.arguments["cutoff_len"]
        assert isinstance(cutoff, int)
        return cutoff

    rows_checked_by: str
    """The run of the row whose proof that the trainer sees the encoded rows holds for this one."""
    train_rows: int | None = None
    """How many rows of the training split are used, chosen by the run's seed; None: all."""

    def limits(self, split: str) -> str:
        return str(self.cutoff) if split == "train" else super().limits(split)

    def training_rows(self, seed: int | str, name: str = "train.json") -> str:
        """The rows that training reads, or another file in their folder."""
        selection = "" if self.train_rows is None else f".rows-{self.train_rows}.seed-{seed}"
        return self.data("train").training_rows(self.cutoff, selection, name)

    @property
    def curve(self) -> str:
        """The learning curve that the run is a point of: its name without the number of rows."""
        return self.name.replace(f"+train_rows={self.train_rows}", "")

    @property
    def merges(self) -> bool:
        """Whether predictions come from base and adapter in one model, rather than from a LoRA module."""
        return self.decode.adapter == "merged"

    @property
    def needed_splits(self) -> list[str]:
        return ["train", "dev"]

    def engine_model(self, seed: int | str) -> str:
        return self.files(seed).merged if self.merges else super().engine_model(seed)

    def engine_adapter(self, seed: int | str) -> str | None:
        return None if self.merges else self.files(seed).adapter()

    def summaries(self, seed: int, splits: Sequence[str]) -> list[str]:
        data = self.data("train")
        return [
            *super().summaries(seed, splits),
            data.answers_summary("train"),
            *([data.windows_summary("train")] if self.dataset.windows else []),
            self.training_rows(seed, "train.summary.json"),
        ]

    def training_files(self, seed: int | str) -> list[str]:
        files = self.files(seed)
        return [
            *self.split_files("train"),
            *self.encoded("train"),
            *([] if self.train_rows is None else [paths.selected_rows(self.dataset.name, self.train_rows, seed)]),
            *(self.training_rows(seed), paths.training_rows_check(self.rows_checked_by), files.config),
            *(files.adapter(), files.adapter("adapter_config.json")),
        ]

    def settings(self) -> dict[str, JsonValue]:
        train: dict[str, JsonValue] = {
            **self.recipe.settings(),
            "arguments": self.arguments,
            "overrides": self.overrides,
        }
        if self.train_rows is not None:
            train["train_rows"] = self.train_rows
        return {**super().settings(), "train": train}


@dataclass(frozen=True, kw_only=True)
class VoteRun(_Run):
    """What most seeds of another run predict. Such a run neither trains nor asks a model."""

    kind = "vote"
    voters: BaseRun

    def summaries(self, seed: int, splits: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(file for one in self.voters.seeds for file in self.voters.summaries(one, splits)))

    def made_from(self, seed: int, split: str) -> list[str]:
        """Every file behind the run's scores of a split."""
        voters = [self.voters.files(one) for one in self.voters.seeds]
        return [
            *(voter.manifest for voter in voters),
            *(voter.predictions(split) for voter in voters),
            *self.scored_files(seed, split),
        ]

    def settings(self) -> dict[str, JsonValue]:
        return {**self.voters.settings(), **super().settings(), "vote_of": self.voters.name}


@dataclass(frozen=True, kw_only=True)
class CrfRun(_Run):
    """The CRF baseline: trained on the training split, on a CPU."""

    kind = "crf"

    @property
    def engines(self) -> list[str]:
        return ["crf"]

    @property
    def needed_splits(self) -> list[str]:
        return ["train", "dev"]

    def made_from(self, seed: int, split: str) -> list[str]:
        """Every file behind the run's scores of a split."""
        return [
            *(file for name in ("train", split) for file in self.split_files(name)),
            self.files(seed).crf,
            paths.lock("crf"),
            *self.scored_files(seed, split),
        ]


@dataclass(frozen=True, kw_only=True)
class ImportedRun(_Run):
    """The predictions of another system."""

    kind = "imported"
    imported: ImportedPredictions

    def made_from(self, seed: int, split: str) -> list[str]:
        """Every file behind the run's scores of a split."""
        return [self.imported.predictions, *self.split_files(split), *self.scored_files(seed, split)]

    def settings(self) -> dict[str, JsonValue]:
        return {**super().settings(), "imported": self.imported.settings()}


PredictingRun: TypeAlias = TunedRun | BaseRun
"""A run whose answers come from a model."""
Run: TypeAlias = TunedRun | BaseRun | VoteRun | CrfRun | ImportedRun


@dataclass(frozen=True)
class Group:
    """Runs and seeds that one engine answers for, one after the other. Most groups have one member."""

    name: str
    members: tuple[tuple[PredictingRun, int], ...]

    @property
    def files(self) -> GroupFiles:
        """The paths of the group's files."""
        return GroupFiles(self.name)

    @property
    def first(self) -> PredictingRun:
        """A member, for what all have in common: dataset, base model, decode settings."""
        return self.members[0][0]


def group_runs(runs: Iterable[Run]) -> Iterator[Group]:
    """Put each run and seed into an engine group: alone, or with others of its row where the engine is shared."""
    shared: dict[str, list[tuple[PredictingRun, int]]] = {}
    for run in runs:
        if not isinstance(run, BaseRun):
            continue
        if run.decode.share_engine:
            shared.setdefault(run.row, []).extend((run, seed) for seed in run.seeds)
        else:
            yield from (Group(f"{run.name}@seed-{seed}", ((run, seed),)) for seed in run.seeds)
    for row, members in shared.items():
        for part, start in enumerate(range(0, len(members), GROUP_SIZE), 1):
            yield Group(f"{row}@part-{part}", tuple(members[start : start + GROUP_SIZE]))
