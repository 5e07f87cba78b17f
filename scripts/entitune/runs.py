"""Runs: the kinds of runs, and all decisions about a run.

Rules, scripts and the server use these methods for: merged model or LoRA module, the environment that predicts, the
model that an engine loads, the engine that several runs share, the files that scores are made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, TypeAlias

from pydantic import JsonValue

from entitune import paths
from entitune.corpus.selection import HELD_OUT, held_out_rows
from entitune.engines.llamafactory_arguments import evaluates
from entitune.paths import GroupFiles, PromptData, RunFiles
from entitune.registries import Arguments, Dataset, Decode, ImportedPredictions, Model, PromptFiles, Recipe

SELECT = "select"
"""The name that replaces a split's when an engine answers the held-out rows that choose a checkpoint."""
GROUP_SIZE = 50
"""The most runs and seeds that share an engine. A larger group would lose more when it fails, and its command would be
too long for a shell."""


def files_below(sources: Sequence[str]) -> list[str]:
    """Return the files, with each folder replaced by the files in it, so that a change in a folder is noticed."""
    return [str(file) for source in sources for file in sorted(Path(source).rglob("*")) if file.is_file()] or [*sources]


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The base class of all kinds of runs. A row of the sheet with a sweep gives one run per combination."""

    kind: ClassVar[str]
    name: str
    row: str
    """The name of the run's row in the sheet."""
    dataset: Dataset
    seeds: tuple[int, ...]

    def files(self, seed: int | str) -> RunFiles:
        """Return the paths of the run's files for one seed."""
        return RunFiles(self.name, seed)

    @property
    def engines(self) -> list[str]:
        """The environments of the engines that the run needs."""
        return []

    @property
    def has_confidence(self) -> bool:
        """Whether the mentions of the run's predictions have a confidence."""
        return False

    def split_files(self, split: str) -> list[str]:
        """Return the files of a split of the run's dataset: the publisher's file and the canonical one."""
        return [paths.raw(self.dataset.name, split), paths.sentences(self.dataset.name, split)]

    def scored_files(self, seed: int, split: str) -> list[str]:
        """Return the run's predictions and scores, and the lock file of the environment that scores them."""
        files = self.files(seed)
        return [files.predictions(split), files.scores(split), paths.lock("workflow")]

    @property
    def needed_splits(self) -> list[str]:
        """The splits that the run's scores on dev need."""
        return ["dev"]

    def summaries(self, seed: int, splits: Sequence[str]) -> list[str]:
        """Return the summaries of what steps left out of the data that the scores of these splits are made from."""
        used = dict.fromkeys([*(["train"] if "train" in self.needed_splits else []), *splits])
        return [paths.conversion(self.dataset.name, split) for split in used]

    def job_records(self, seed: int) -> list[str]:
        """Return the records of the run's own jobs, in order. Records of jobs for an engine group are not included."""
        return []

    def settings(self) -> dict[str, JsonValue]:
        """Return the run with all entries of conf/ that it names, for provenance."""
        return {"run": self.name, "kind": self.kind, "dataset": self.dataset.settings()}


@dataclass(frozen=True)
class EngineSource:
    """The files that an engine reads to predict for a run and seed."""

    sentences: str
    """The sentences to ask about, or their windows; canonical."""
    tokens: str
    """Their prompts as token ids."""
    parity: str
    """The check that serving would send the same prompts."""
    model: str
    """The manifest, in its folder, of the model that the engine loads, or of the merged models of all candidates."""
    adapter: str | None
    """A file in the folder of the LoRA adapter that the engine loads, or of all candidates; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class BaseRun(_Run):
    """The base model predicts without training (zero-shot, few-shot)."""

    kind = "base"
    model: Model
    prompt: PromptFiles
    decode: Decode
    lengths_checked_by: str
    """The run of the row whose check of prompt lengths is valid for this one: the first with the same prompt."""

    @property
    def data(self) -> PromptData:
        """The paths of the run's dataset under its prompt, encoded for its model, with the windows of prediction."""
        return self.data_within(f"{self.decode.max_model_len}-{self.decode.max_tokens}")

    @property
    def whole(self) -> PromptData:
        """The paths of the dataset under the prompt, without windows."""
        return PromptData(self.dataset.name, self.prompt.name, self.model.name)

    def data_within(self, limits: str) -> PromptData:
        """Return the paths with windows within `limits`, which are in the folder's name; without windows, `whole`."""
        return replace(self.whole, windows=paths.windows(limits)) if self.dataset.windows else self.whole

    @property
    def engines(self) -> list[str]:
        """The environments that the run needs."""
        # LLaMA-Factory's template makes the token ids, and vLLM answers.
        return ["train", self.decode.environment]

    @property
    def has_confidence(self) -> bool:
        """Whether the mentions of the predictions have a confidence."""
        return self.decode.confidence

    def engine_model(self, seed: int | str) -> str:
        """Return the manifest, in its folder, of the model that the engine loads."""
        return paths.model(self.model.name)

    def engine_adapter(self, seed: int | str) -> str | None:
        """Return the adapter that the engine loads on top of the model as a LoRA module, or None."""
        return None

    def engine_source(self, seed: int | str, split: str) -> EngineSource:
        """Return what the engine reads to predict a split."""
        return EngineSource(
            self.data.asked(split),
            self.data.tokens(split),
            self.data.parity(split, self.decode.environment),
            self.engine_model(seed),
            self.engine_adapter(seed),
        )

    def encoded_files(self, split: str, data: PromptData) -> list[str]:
        """Return the files of a split that lead to its token ids, in order."""
        files = [self.whole.alpaca(split), data.asked(split), data.alpaca(split), data.tokens(split)]
        return [*dict.fromkeys(files), data.parity(split, self.decode.environment)]

    def summaries(self, seed: int, splits: Sequence[str]) -> list[str]:
        """Return the summaries of the run's data, including its windows."""
        windows = [self.data.windows_summary(split) for split in splits if self.dataset.windows]
        return [*super().summaries(seed, splits), *windows]

    def training_files(self, seed: int | str, group: GroupFiles) -> list[str]:
        """Return the files that training reads and writes, in order."""
        return []

    @property
    def needed_splits(self) -> list[str]:
        """The splits that the run reads: dev; for examples in the prompt also train, and the splits to exclude."""
        return ["train", *self.dataset.judged_splits] if self.prompt.shots else ["dev"]

    @property
    def example_files(self) -> list[str]:
        """The files that the examples of the prompt are made from, and the file of examples."""
        if not self.prompt.shots:
            return []
        return [
            *(file for split in ("train", *self.dataset.judged_splits) for file in self.split_files(split)),
            self.data.examples,
        ]

    def made_from(self, seed: int, split: str, group: GroupFiles) -> list[str]:
        """Return all files that the run's scores of a split are made from, from the publisher's file to the scores.

        The lock files of the engines are not included: the jobs record which ones they used.
        """
        encoded = self.encoded_files(split, self.data)
        training = self.training_files(seed, group)
        return [
            *dict.fromkeys([*self.example_files, *training, *self.split_files(split), *encoded]),
            paths.model(self.model.name),
            *([self.engine_model(seed)] if self.engine_model(seed) != paths.model(self.model.name) else []),
            *(group.answers(split, shard) for shard in paths.shards(self.decode.shards)),
            *self.scored_files(seed, split),
        ]

    def settings(self) -> dict[str, JsonValue]:
        """Return the run with all entries of conf/ that it names, for its manifest."""
        return {
            **super().settings(),
            "model": self.model.settings(),
            "prompt": self.prompt.settings(),
            "decode": self.decode.settings(),
        }


@dataclass(frozen=True, kw_only=True)
class TunedRun(BaseRun):
    """A LoRA adapter is trained with a recipe."""

    kind = "tuned"
    recipe: Recipe
    arguments: Arguments = field(hash=False)
    """LLaMA-Factory's arguments: those of the recipe's file, overridden by the sweep's values."""
    overrides: Arguments = field(default_factory=dict, hash=False)
    """The sweep's values."""
    rows_checked_by: str
    """The run of the row whose check that the trainer sees the encoded rows is valid for this one."""
    train_rows: int | None = None
    """The number of rows of the training split that are used, chosen by the run's seed; None: all."""

    @property
    def cutoff(self) -> int:
        """The most tokens of a row, prompt and answer together."""
        cutoff = self.arguments["cutoff_len"]
        assert isinstance(cutoff, int)
        return cutoff

    @property
    def selects(self) -> bool:
        """Whether the adapter is the training's best checkpoint instead of its last one."""
        return self.recipe.select is not None

    @property
    def held_out_share(self) -> float:
        """The share of the training split that is held out, to choose a checkpoint or for the evaluation loss."""
        share = self.recipe.select or self.arguments.get("val_size") or 0.0
        assert isinstance(share, int | float)
        return share

    @property
    def eval_dataset(self) -> str | None:
        """The name of the held-out rows in dataset_info.json; None if training does not evaluate its loss on them."""
        return HELD_OUT if evaluates(self.arguments) else None

    def rows_trained_on(self, rows: int) -> int:
        """Return the number of rows that are trained on, of a training split with `rows` rows."""
        return self.train_rows or rows - held_out_rows(self.held_out_share, rows)

    def selection(self, seed: int | str) -> str:
        """Return the part of file names that identifies the rows that are trained on; empty for all rows."""
        held_out = f".held_out-{self.held_out_share:g}" if self.held_out_share else ""
        rows = f".rows-{self.train_rows}" if self.train_rows else ""
        return f"{held_out}{rows}.seed-{seed}" if held_out or rows else ""

    @property
    def training_data(self) -> PromptData:
        """The paths of the run's dataset for training: with windows that fit into `cutoff_len`."""
        return self.data_within(str(self.cutoff))

    def training_rows(self, seed: int | str, name: str = "train.json") -> str:
        """Return the rows that training reads, or another file in their folder."""
        return self.training_data.training_rows(self.cutoff, self.selection(seed), name)

    @property
    def curve(self) -> str:
        """The learning curve that the run belongs to: its name without the number of rows."""
        return self.name.replace(f"+train_rows={self.train_rows}", "")

    @property
    def merges(self) -> bool:
        """Whether the adapter is merged into the base model for predicting, instead of served as a LoRA module."""
        return self.decode.adapter == "merged"

    @property
    def needed_splits(self) -> list[str]:
        """The splits that the run reads."""
        chooses = self.prompt.shots or self.train_rows or self.held_out_share
        return ["train", *self.dataset.judged_splits] if chooses else ["train", "dev"]

    def engine_model(self, seed: int | str) -> str:
        """Return the manifest of the model that the engine loads: the merged model or the base model."""
        return self.files(seed).merged if self.merges else super().engine_model(seed)

    def engine_adapter(self, seed: int | str) -> str | None:
        """Return the adapter that the engine loads as a LoRA module; None if it is merged."""
        return None if self.merges else self.files(seed).adapter()

    def engine_source(self, seed: int | str, split: str) -> EngineSource:
        """Return what the engine reads to predict a split, or for SELECT the held-out rows with each candidate."""
        if split != SELECT:
            return super().engine_source(seed, split)
        files = self.files(seed)
        return EngineSource(
            files.held_out,
            files.held_out_tokens,
            self.data.parity("train", self.decode.environment),
            files.merged_candidates if self.merges else paths.model(self.model.name),
            None if self.merges else files.candidates,
        )

    def selected_files(self, seed: int | str) -> list[str]:
        """Return the files that define which rows are trained on; empty if all rows are."""
        selection = self.selection(seed)
        if self.held_out_share:
            chosen = [self.data.kept_rows(selection), self.data.held_out(selection)]
        elif self.train_rows:
            chosen = [paths.selected_rows(self.dataset.name, self.train_rows, seed)]
        else:
            return []
        return [*(file for split in self.dataset.judged_splits for file in self.split_files(split)), *chosen]

    def training_files(self, seed: int | str, group: GroupFiles) -> list[str]:
        """Return all files that the adapter is made from, and the adapter."""
        files, data = self.files(seed), self.training_data
        shards = paths.shards(self.decode.shards)
        candidates = [
            *(self.encoded_files("train", self.data) if self.dataset.windows else []),
            *(files.held_out, files.held_out_tokens, files.candidates),
            *([files.merged_candidates] if self.merges else []),
            *(group.answers(SELECT, shard) for shard in shards),
            files.checkpoint_scores,
        ]
        return [
            *self.split_files("train"),
            *self.encoded_files("train", data),
            *self.selected_files(seed),
            *(self.training_rows(seed), paths.training_rows_check(self.rows_checked_by), files.config),
            *(candidates if self.selects else []),
            *(files.adapter(), files.adapter("adapter_config.json")),
        ]

    def job_records(self, seed: int) -> list[str]:
        """Return the records of the training, and of merging its adapter and its candidates."""
        jobs = ["train_adapter"]
        if self.merges:
            jobs += ["merge_adapter", *(["merge_candidates"] if self.selects else [])]
        return [self.files(seed).record(job) for job in jobs]

    def summaries(self, seed: int, splits: Sequence[str]) -> list[str]:
        """Return the summaries of the run's data, including its training rows."""
        data = self.training_data
        return [
            *super().summaries(seed, splits),
            data.answers_summary("train"),
            *([data.windows_summary("train")] if self.dataset.windows else []),
            self.training_rows(seed, "train.summary.json"),
        ]

    def settings(self) -> dict[str, JsonValue]:
        """Return the run with all entries of conf/ that it names, for its manifest."""
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
    """The majority vote of the seeds of another run. It uses no model."""

    kind = "vote"
    voters: BaseRun

    @property
    def has_confidence(self) -> bool:
        """Whether the mentions of the voters' predictions have a confidence."""
        return self.voters.has_confidence

    def summaries(self, seed: int, splits: Sequence[str]) -> list[str]:
        """Return the summaries of the voters."""
        return list(dict.fromkeys(file for one in self.voters.seeds for file in self.voters.summaries(one, splits)))

    def made_from(self, seed: int, split: str) -> list[str]:
        """Return all files that the run's scores of a split are made from."""
        voters = [self.voters.files(one) for one in self.voters.seeds]
        return [
            *(voter.manifest for voter in voters),
            *(voter.predictions(split) for voter in voters),
            *self.scored_files(seed, split),
        ]

    def settings(self) -> dict[str, JsonValue]:
        """Return the settings of the voters, and the name of their run."""
        return {**self.voters.settings(), **super().settings(), "vote_of": self.voters.name}


@dataclass(frozen=True, kw_only=True)
class CrfRun(_Run):
    """The CRF baseline: trained on the training split, on a CPU."""

    kind = "crf"

    @property
    def engines(self) -> list[str]:
        """The environments that the run needs."""
        return ["crf"]

    @property
    def needed_splits(self) -> list[str]:
        """The splits that the run reads."""
        return ["train", "dev"]

    def made_from(self, seed: int, split: str) -> list[str]:
        """Return all files that the run's scores of a split are made from."""
        return [
            *(file for name in ("train", split) for file in self.split_files(name)),
            self.files(seed).crf,
            paths.lock("crf"),
            *self.scored_files(seed, split),
        ]

    def job_records(self, seed: int) -> list[str]:
        """Return the record of the training."""
        return [self.files(seed).record("train_crf")]


@dataclass(frozen=True, kw_only=True)
class ImportedRun(_Run):
    """The predictions of another system."""

    kind = "imported"
    imported: ImportedPredictions

    def made_from(self, seed: int, split: str) -> list[str]:
        """Return all files that the run's scores of a split are made from."""
        imported = files_below(self.imported.files()[split])
        return [*imported, *self.split_files(split), *self.scored_files(seed, split)]

    def settings(self) -> dict[str, JsonValue]:
        """Return the run with all entries of conf/ that it names, for its manifest."""
        return {**super().settings(), "imported": self.imported.settings()}


PredictingRun: TypeAlias = TunedRun | BaseRun
"""A run whose answers come from a model."""
Run: TypeAlias = TunedRun | BaseRun | VoteRun | CrfRun | ImportedRun


@dataclass(frozen=True)
class Group:
    """Runs and seeds that one engine predicts for, one after the other. Most groups have one member."""

    name: str
    members: tuple[tuple[PredictingRun, int], ...]

    @property
    def files(self) -> GroupFiles:
        """The paths of the group's files."""
        return GroupFiles(self.name)

    @property
    def first(self) -> PredictingRun:
        """The first member. All members have the same dataset, base model and decode settings."""
        return self.members[0][0]


def group_runs(runs: Iterable[Run]) -> Iterator[Group]:
    """Put each run and seed into an engine group: alone, or with others of its row if they share an engine."""
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
