"""All paths under results/, each defined once. docs/contracts.md explains the files.

Functions and properties return the path of what their docstring names, as text relative to the repository's root. A
rule gets a pattern by passing wildcards in braces: `paths.sentences("{dataset}", "{split}")`. Needs only the standard
library.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RESULTS = "results"
METRICS = f"{RESULTS}/metrics.tsv"
SEEDS = f"{RESULTS}/seeds.tsv"
COMPARISON = f"{RESULTS}/comparison.tsv"
REPORT = f"{RESULTS}/report"
ERROR_TABLES = ("answers.tsv", "categories.tsv", "confusion.tsv", "breakdown.tsv", "examples.jsonl")


def environment(name: str) -> str:
    """The marker of a built environment, in the environment's folder."""
    return f".envs/{name}/.built"


def python(name: str) -> str:
    """The interpreter of an environment."""
    return f".envs/{name}/bin/python"


CUDA_12 = {"train": "train-cuda12", "predict-cuda": "predict-cuda12", "predict-cpu": "predict-cpu12"}
"""Environments with a second lock file, which has the same engines for CUDA 12 instead of CUDA 13."""


def lock(name: str, cuda: int = 13) -> str:
    """The lock file of an environment for CUDA 12 or 13."""
    return f"envs/{CUDA_12.get(name, name) if cuda == 12 else name}.txt"


def locks(name: str) -> list[str]:
    """The lock files of an environment for all versions of CUDA.

    A step depends on all of them, so that results stay valid on a machine with another version of CUDA.
    """
    return list(dict.fromkeys(lock(name, cuda) for cuda in (13, 12)))


def cuda_of(lock_file: str) -> int | None:
    """Return the version of CUDA that a lock file is for, 12 or 13; None if its environment has one lock file."""
    generations = {lock(name, cuda): cuda for name in CUDA_12 for cuda in (12, 13)}
    return generations.get(lock_file)


def built_from(environment: Path) -> str | None:
    """Return the lock file that an environment was built from, read from its marker; None if the marker has none."""
    marker = environment / ".built"
    words = marker.read_text(encoding="utf-8").split() if marker.is_file() else []
    return words[1] if len(words) == 2 else None


# --- data -----------------------------------------------------------------------------------------------------------


def archive(dataset: str) -> str:
    """A dataset's archive as its publisher packed it."""
    return f"{RESULTS}/datasets/{dataset}/raw/archive"


def raw(dataset: str, split: str) -> str:
    """A split as its publisher wrote it."""
    return f"{RESULTS}/datasets/{dataset}/raw/{split}"


def sentences(dataset: str, split: str) -> str:
    """A split as canonical JSON lines."""
    return f"{RESULTS}/datasets/{dataset}/{split}.jsonl"


def selected_rows(dataset: str, rows: int | str, seed: int | str) -> str:
    """A number of rows of a training split, chosen by a seed; canonical."""
    return f"{RESULTS}/datasets/{dataset}/selected/rows-{rows}.seed-{seed}.jsonl"


def dropped(dataset: str, split: str) -> str:
    """The rows of a split that were dropped, with reasons."""
    return f"{RESULTS}/datasets/{dataset}/{split}.dropped.jsonl"


def conversion(dataset: str, split: str) -> str:
    """The numbers of rows of a split that were read and dropped."""
    return f"{RESULTS}/datasets/{dataset}/{split}.summary.json"


def conversion_benchmark(dataset: str, split: str) -> str:
    """Time and memory of a split's conversion."""
    return f"{RESULTS}/datasets/{dataset}/benchmarks/convert_dataset.{split}.tsv"


def audit(dataset: str) -> str:
    """The audit of a dataset."""
    return f"{RESULTS}/audit/{dataset}.tsv"


def model(name: str) -> str:
    """The manifest of a base model, in the model's folder."""
    return f"{RESULTS}/models/{name}/manifest.json"


def windows(limits: str) -> str:
    """The part of a path that marks windows within these limits, in tokens."""
    return f"/windows-{limits}"


@dataclass(frozen=True)
class PromptData:
    """A dataset under a prompt, encoded for a model."""

    dataset: str
    prompt: str
    model: str = "{model}"
    windows: str = ""
    """The result of `windows` if long sentences are split, else empty."""

    @property
    def _folder(self) -> str:
        return f"{RESULTS}/datasets/{self.dataset}/{self.prompt}"

    @property
    def _encoded(self) -> str:
        return f"{self._folder}/{self.model}{self.windows}"

    @property
    def examples(self) -> str:
        """The sentences that the prompt shows as examples; canonical."""
        return f"{self._folder}/examples.jsonl"

    def kept_rows(self, selection: str) -> str:
        """The rows of the training split that are not held out, or a number of them; canonical.

        `selection` is `.held_out-{share}.seed-{seed}` or `.held_out-{share}.rows-{rows}.seed-{seed}`.
        """
        return f"{self._folder}/selected/rows{selection}.jsonl"

    def held_out(self, selection: str) -> str:
        """The rows of the training split that are held out; canonical."""
        return f"{self._folder}/selected/held_out{selection}.jsonl"

    def alpaca(self, split: str) -> str:
        """Alpaca rows: prompt, sentence or window, answer."""
        return f"{self._encoded if self.windows else self._folder}/{split}.json"

    def answers_summary(self, split: str) -> str:
        """The number of mentions, and of those that the answer format cannot write."""
        return f"{self._folder}/{split}.summary.json"

    def asked(self, split: str) -> str:
        """The canonical sentences that the rows ask about: the split itself, or its windows."""
        return f"{self._encoded}/{split}.jsonl" if self.windows else sentences(self.dataset, split)

    def windows_summary(self, split: str) -> str:
        """The number of windows, and of mentions that no window holds completely."""
        return f"{self._encoded}/{split}.summary.json"

    def tokens(self, split: str) -> str:
        """The rows as token ids."""
        return f"{self._encoded}/{split}.tokens.jsonl"

    def parity(self, split: str, env: str) -> str:
        """The check that serving sends the prompts that training saw."""
        return f"{self._encoded}/{split}.{env}.parity.json"

    def training_rows(self, cutoff: int | str, selection: str = "", name: str = "train.json") -> str:
        """The rows that training reads. Their folder also has dataset_info.json, too_long.jsonl, train.summary.json.

        `selection` is empty for all rows, `.rows-{rows}.seed-{seed}` for `selected_rows`, or the selection of
        `kept_rows`; then the folder also has held_out.json.
        """
        return f"{self._encoded}/cutoff-{cutoff}{selection}/{name}"


def base_model(name: str) -> str:
    """A file of the training of the embedded base model."""
    return f"{RESULTS}/base_model/{name}"


# --- one run and seed -------------------------------------------------------------------------------------------------


def lengths_check(run: str, split: str) -> str:
    """The check that the prompts of a split fit the limits of a run's engine; one for all seeds."""
    return f"{RESULTS}/{run}/lengths.{split}.json"


def training_rows_check(run: str) -> str:
    """The check that the trainer sees a run's rows as they were encoded; one for all seeds."""
    return f"{RESULTS}/{run}/training_rows.json"


@dataclass(frozen=True)
class RunFiles:
    """The files of one run and seed."""

    run: str
    seed: int | str

    @property
    def folder(self) -> str:
        """The folder of this run and seed."""
        return f"{RESULTS}/{self.run}/seed-{self.seed}"

    @property
    def config(self) -> str:
        """LLaMA-Factory's YAML."""
        return f"{self.folder}/train.yaml"

    @property
    def checkpoints(self) -> str:
        """The folder with the checkpoints of an unfinished training. No rule declares it."""
        return f"{self.folder}/checkpoints"

    def adapter(self, name: str = "adapter_model.safetensors") -> str:
        """A file of the LoRA adapter."""
        return f"{self.folder}/adapter/{name}"

    @property
    def held_out(self) -> str:
        """The held-out rows that choose the checkpoint; canonical."""
        return f"{self.folder}/held_out.jsonl"

    @property
    def held_out_tokens(self) -> str:
        """The same rows as token ids."""
        return f"{self.folder}/held_out.tokens.jsonl"

    @property
    def candidates(self) -> str:
        """The manifest of all checkpoints that the adapter is chosen from, in their folder."""
        return f"{self.folder}/candidates/manifest.json"

    @property
    def merged_candidates(self) -> str:
        """The manifest of the merged models of these checkpoints, in their folder."""
        return f"{self.folder}/merged_candidates/manifest.json"

    @property
    def checkpoint_scores(self) -> str:
        """The scores of all checkpoints, and which one was chosen."""
        return f"{self.folder}/checkpoints.tsv"

    @property
    def crf(self) -> str:
        """The model of the CRF baseline, in crfsuite's format."""
        return f"{self.folder}/model.crf"

    @property
    def merged(self) -> str:
        """The manifest of the merged model, in its folder."""
        return f"{self.folder}/merged/manifest.json"

    def predictions(self, split: str) -> str:
        """Predictions, one JSON line per sentence."""
        return f"{self.folder}/predictions/{split}.jsonl"

    def scores(self, split: str) -> str:
        """The run's table of scores."""
        return f"{self.folder}/scores/{split}.tsv"

    def score_page(self, split: str) -> str:
        """The same table for readers, in Markdown."""
        return f"{self.folder}/scores/{split}.md"

    def seqeval_report(self, split: str) -> str:
        """The report that seqeval prints for the run."""
        return f"{self.folder}/scores/{split}.seqeval.txt"

    def errors(self, split: str, table: str) -> str:
        """A table of the error analysis, one of ERROR_TABLES."""
        return f"{self.folder}/errors/{split}/{table}"

    @property
    def submission(self) -> str:
        """The benchmark's submission file."""
        return f"{self.folder}/cluener_predict.json"

    @property
    def manifest(self) -> str:
        """The manifest of the run: what its scores were made from."""
        return f"{self.folder}/manifest.json"

    @property
    def serving_check(self) -> str:
        """The check of a server of the run."""
        return f"{self.folder}/serving_check.json"

    def record(self, rule: str) -> str:
        """The time and memory that a job took, and its node."""
        return f"{self.folder}/jobs/{rule}.json"


@dataclass(frozen=True)
class GroupFiles:
    """The files of an engine group: the runs and seeds that one engine predicts for."""

    group: str

    def answers(self, split: str, shard: str) -> str:
        """The raw answers of all members to a part of a split."""
        return f"{RESULTS}/groups/{self.group}/answers/{split}/{shard}.jsonl"

    def record(self, split: str, shard: str) -> str:
        """The time and memory that the job took, and its node."""
        return f"{RESULTS}/groups/{self.group}/jobs/predict_shard.{split}.{shard}.json"


def shards(count: int) -> list[str]:
    """The names of the parts of a split that is predicted in `count` jobs."""
    return [f"{part}-of-{count}" for part in range(1, count + 1)]


# --- report -----------------------------------------------------------------------------------------------------------


def figure(name: str) -> str:
    """A figure or page of the report."""
    return f"{REPORT}/{name}"
