"""The entries of the registries under conf/: the meaning, the values and the default of each key.

docs/configuration.md and the JSON schema under conf/schemas are generated from these models
(scripts/document_config.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from entitune.corpus.formats import check_options
from entitune.corpus.options import CorpusOptions, Format
from entitune.corpus.rows import MARKUP
from entitune.engines.vllm_settings import EngineSettings
from entitune.manifests import MAX_NAME_BYTES
from entitune.prompting.answer_formats import AnswerFormat
from entitune.prompting.chat import ChatSettings
from entitune.tsv import NOT_LABELS

Arguments: TypeAlias = dict[str, JsonValue]
"""LLaMA-Factory arguments: names and any values that YAML can express."""

RESERVED_LABELS = (*NOT_LABELS, "all")
"""Names of rows in the score tables and in the audit, which cannot be labels of a dataset."""

MAX_RUN_NAME = 200
"""The longest name of a run, sweeps included: names of files and folders contain it."""

MAX_PATH_BYTES = 4000
"""The longest paths on Linux, with room for a folder in front."""


def check_name(value: str) -> str:
    """Return a name that is safe in a path. Raises ValueError for any other text."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError(
            f"{value!r} is not safe as a name in a path; use ASCII letters, digits, '.', '_' and '-', and begin with a "
            "letter or digit"
        )
    if ".." in value:
        raise ValueError(f"{value!r} contains '..'; choose another name")
    if len(value) > 100:
        raise ValueError(f"{value!r} is longer than 100 characters; choose a shorter name")
    return value


def _check_label(value: str) -> str:
    if not value or re.search(r"[\s,\"'，、]", value) or not value.isprintable():
        raise ValueError(f"{value!r} cannot be a label: labels must not have spaces, commas or quotes")
    _check_no_markup(value)
    if value in RESERVED_LABELS or value.startswith("-"):
        raise ValueError(
            f"{value!r} cannot be a label: {', '.join(RESERVED_LABELS)} are rows of the tables, and a label must "
            "not begin with '-'"
        )
    return value


def _check_no_markup(value: str) -> None:
    if found := MARKUP.search(value):
        raise ValueError(f"{found[0]!r} is markup of chat templates and cannot be sent as text; remove it")


def _check_description(value: str) -> str:
    _check_no_markup(value)
    if not value.isprintable():
        raise ValueError(f"{value!r} contains a line end or a control character; write the description on one line")
    return value


def _check_path(value: str) -> str:
    if not value.strip() or not value.isprintable() or re.search(r"[{}*?\[\]]", value) or value.startswith("~"):
        raise ValueError(f"{value!r} cannot be used as a path: write it in full, without {{ }} [ ] * ? and ~")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in value.split("/")) or len(value.encode()) > MAX_PATH_BYTES:
        raise ValueError(f"{value!r} is too long for a file system")
    return value


def _matching(pattern: str, description: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is not {description}")
        return value

    return AfterValidator(check)


def _shown_as(name: str) -> Any:
    """Return a field that sets the name of a type in the schema and in docs/configuration.md."""
    return Field(json_schema_extra={"format": name})


Name: TypeAlias = Annotated[str, AfterValidator(check_name), _shown_as("name")]
"""A name that is safe in a path."""
FilePath: TypeAlias = Annotated[str, AfterValidator(_check_path), _shown_as("path")]
"""A path relative to the repository's root, or absolute."""
Sha256: TypeAlias = Annotated[
    str, _matching("[0-9a-f]{64}", "a checksum of 64 hexadecimal digits"), _shown_as("sha256")
]
Url: TypeAlias = Annotated[
    str, _matching(r"https?://\S+", "an address that begins with http:// or https://"), _shown_as("url")
]
Positive: TypeAlias = Annotated[int, Field(ge=1)]
Count: TypeAlias = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Keys and values under conf/. Frozen; types are not converted; other keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Entry(Section):
    """A named entry of a registry."""

    name: Name = Field(exclude=True, repr=False)

    def settings(self) -> dict[str, JsonValue]:
        """Return the entry and its name as plain values for provenance, with defaults but without absent keys."""
        values: dict[str, JsonValue] = self.model_dump(mode="json", exclude_none=True)
        return {"name": self.name, **values}


# --- datasets -----------------------------------------------------------------------------------------------------


class Label(Section):
    """An entity type of a dataset."""

    model_config = ConfigDict(json_schema_extra={"format": "label"})

    name: Annotated[str, AfterValidator(_check_label)]
    description: Annotated[str, AfterValidator(_check_description)] = ""


def _read_labels(value: Any) -> Any:
    """Return labels as records, from a list of names or from names with descriptions."""
    if isinstance(value, Mapping):
        return tuple({"name": name, "description": text} for name, text in value.items())
    if isinstance(value, list):
        return tuple({"name": name} for name in value)
    raise ValueError(f"{value!r} is not an array of names; expected [A, B] or {{A: description, B: description}}")


class Archive(Section):
    """An archive that holds the splits of a dataset."""

    urls: Annotated[tuple[Url, ...], Field(min_length=1, strict=False)] = Field(description="tried in turn")
    revision: str = Field(description="edition of the corpus, for readers")
    sha256: Sha256 = Field(description="the archive's checksum; another file is refused")


SplitFiles: TypeAlias = FilePath | Annotated[tuple[FilePath, ...], Field(min_length=2, max_length=2, strict=False)]
"""A file; for brat and parallel also a folder; for parallel also two files, one of sentences and one of tags."""


def _given_files(splits: Mapping[str, SplitFiles | None]) -> dict[str, tuple[str, ...]]:
    return {name: (one,) if isinstance(one, str) else one for name, one in splits.items() if one is not None}


class Splits(Section):
    """Where the splits are: local files, or members of the archive."""

    train: SplitFiles | None = Field(None, description="what runs train on")
    dev: SplitFiles = Field(description="what runs are scored on")
    test: SplitFiles | None = Field(None, description="predicted on request, for a benchmark; may be unlabelled")

    def files(self) -> dict[str, tuple[str, ...]]:
        """Return split -> its files or member, for the splits that are given."""
        return _given_files({"train": self.train, "dev": self.dev, "test": self.test})


def _given_options(entry: CorpusOptions) -> CorpusOptions:
    given = CorpusOptions.model_fields.keys() & entry.model_fields_set
    return CorpusOptions.model_validate(entry.model_dump(include=given, exclude_unset=True))


class Dataset(Entry, CorpusOptions):
    """A corpus."""

    format: Format = Field(description="the raw files' format; docs/corpora.md shows each")
    labels: Annotated[tuple[Label, ...], BeforeValidator(_read_labels), Field(min_length=1)] = Field(
        description="the labels, in the order of the prompt and the tables: names, or names with descriptions"
    )
    splits: Splits = Field(description="split -> local file, or member of the archive")
    on_invalid: Literal["fail", "drop"] = Field("fail", description="stop at invalid rows, or drop and report them")
    windows: bool = Field(
        False,
        description="split sentences into windows if they are too long for the recipe's cutoff_len or for the decode "
        "settings; absent: such sentences are refused",
    )
    archive: Archive | None = Field(
        None, description="a zip or tar file with the splits; absent: the splits are local files"
    )

    @model_validator(mode="after")
    def _labels_are_distinct(self) -> Self:
        if repeated := {name for name in self.label_names if self.label_names.count(name) > 1}:
            raise ValueError(f"labels: {', '.join(sorted(repeated))} is given twice; labels must be unique")
        return self

    @model_validator(mode="after")
    def _format_takes_the_options(self) -> Self:
        check_options(self.format, self.options)
        for split, files in self.splits.files().items():
            if len(files) > 1 and (self.format != "parallel" or self.archive):
                raise ValueError(f"splits: {split}: only format parallel takes two files, which must be local")
        return self

    @property
    def judged_splits(self) -> list[str]:
        """The splits that runs are scored on. Rows chosen for a training or a prompt share no sentence with them."""
        return [split for split in self.splits.files() if split != "train"]

    @property
    def may_be_folder(self) -> bool:
        """Whether a local split may be a folder or several files. Its raw split is then one archive of them."""
        return self.format in ("brat", "parallel")

    @property
    def options(self) -> CorpusOptions:
        """The given keys for reading the raw files."""
        return _given_options(self)

    @property
    def label_names(self) -> list[str]:
        """The names of the labels, in order."""
        return [label.name for label in self.labels]


# --- models -------------------------------------------------------------------------------------------------------


class Model(Entry):
    """A base model."""

    SOURCE_KEYS: ClassVar[dict[str, str]] = {"path": "path", "modelscope": "id", "package": "lock"}
    """Source -> the key that it needs."""

    source: Literal["path", "modelscope", "package"] = Field(description="where the files come from")
    path: FilePath | None = Field(None, description="source path: the model's folder")
    id: Annotated[str, _matching(r"[^/\s]+/[^/\s]+", "the hub's name of a model, OWNER/NAME")] | None = Field(
        None, description="source modelscope: the hub's name of the model"
    )
    lock: Annotated[str, _matching(r"envs/[A-Za-z0-9._-]+\.txt", "a lock file, envs/NAME.txt")] | None = Field(
        None, description="source package: lock file of the Python package that carries the model"
    )
    sha256: dict[FilePath, Sha256] = Field(
        {},
        description="file -> checksum, in addition to the pinned revision: other contents are refused, and so are "
        "unlisted files that an engine could load",
    )
    revision: Annotated[str, Field(min_length=1)] = Field(description="the pinned revision")
    licence: str = Field(description="the model's licence, for readers")
    template: str | None = Field(description="LLaMA-Factory's template; null: the model's own chat template")
    thinking: bool = Field(
        False, description="whether the model may think before it answers; its chat template must have a switch for it"
    )
    trust_remote_code: bool = Field(
        False, description="whether a server may run the model's own Python code; read that code first"
    )

    @model_validator(mode="after")
    def _source_is_complete(self) -> Self:
        key = self.SOURCE_KEYS[self.source]
        if getattr(self, key) is None:
            raise ValueError(f"source {self.source} needs the key {key!r}")
        return self

    @property
    def chat(self) -> ChatSettings:
        """The settings of the model's chats, in training, prediction and serving."""
        return ChatSettings(self.template, self.thinking)

    def source_settings(self) -> dict[str, JsonValue]:
        """Return the settings that determine the model's files: source, revision and checksums."""
        values: dict[str, JsonValue] = self.model_dump(
            mode="json", include={"source", "path", "id", "lock", "revision", "sha256"}, exclude_none=True
        )
        return values


# --- prompts ------------------------------------------------------------------------------------------------------


class PromptFiles(Entry):
    """A prompt: its text files and its examples."""

    user: FilePath = Field(description="text file under conf/: the user turn before the sentence")
    system: FilePath | None = Field(
        None, description="text file under conf/: the system turn; absent: the template's default"
    )
    answer: AnswerFormat = Field("json", description="how the answers name mentions: docs/evaluation.md")
    shots: Count = Field(0, description="examples from the training split before the sentence")
    shots_seed: int = Field(1, description="seed that draws the examples")

    def turns(self) -> dict[str, str]:
        """Return turn -> its text file under conf/, for the turns that are given."""
        return {turn: path for turn in ("user", "system") if (path := getattr(self, turn)) is not None}


# --- predictions of other systems ----------------------------------------------------------------------------------


class ImportedPredictions(Entry, CorpusOptions):
    """The predictions of another system."""

    predictions: SplitFiles = Field(
        description="the predictions of the dev split: a file, relative to the repository's root or absolute; a folder "
        "for format brat, two files for format parallel"
    )
    test_predictions: SplitFiles | None = Field(None, description="the predictions of a labelled test split")
    format: Literal["predictions"] | Format = Field(
        "predictions", description="predictions: JSON lines with text or id and entities; or a format of corpora"
    )
    system: str = Field(description="the system that made them, for readers")

    @model_validator(mode="after")
    def _format_takes_the_options(self) -> Self:
        if self.format != "predictions":
            check_options(self.format, self.options)
        for split, files in self.files().items():
            if len(files) > 1 and self.format != "parallel":
                raise ValueError(f"predictions of {split}: only format parallel takes two files")
        return self

    def files(self) -> dict[str, tuple[str, ...]]:
        """Return split -> the files or folder of its predictions, for the splits that are given."""
        return _given_files({"dev": self.predictions, "test": self.test_predictions})

    @property
    def options(self) -> CorpusOptions:
        """The given keys for reading the file."""
        return _given_options(self)


# --- what jobs ask for --------------------------------------------------------------------------------------------


class Machine(Entry):
    """What a job requests from a machine or a scheduler. No result depends on it."""

    gpu_model: str | None = Field(None, description="the GPU model to request from a scheduler")
    threads: Positive = Field(description="CPU threads")
    mem_mb: Positive = Field(description="main memory in MB; a retry asks for more")
    runtime: Positive = Field(description="minutes; a retry asks for more")


class Recipe(Machine):
    """How an adapter is trained."""

    config: FilePath = Field(description="LLaMA-Factory arguments, a YAML file under conf/")
    whole_accumulations: bool = Field(
        False, description="leave out the last, incomplete accumulation of each epoch, as older trainers did"
    )
    select: Annotated[float, Field(ge=0.01, le=0.9)] | None = Field(
        None,
        description="share of the training split to hold out, such as 0.1: the checkpoint with the highest F1 on it "
        "becomes the adapter (all checkpoints are kept until then, regardless of save_total_limit); absent: the "
        "adapter of the last step",
    )
    gpus: Count = Field(description="GPUs of one training, one process each; 0: the CPU")


class Decode(Machine):
    """How vLLM predicts. Decoding is always greedy."""

    adapter: Literal["merged", "lora"] = Field(
        description="merged: merged into the base model before predicting; lora: applied to the base model as a LoRA "
        "module"
    )
    share_engine: bool = Field(
        False,
        description="whether one engine predicts for all runs and seeds of a row of the sheet, one model or adapter "
        "after the other",
    )
    structured: bool = Field(
        False, description="constrain answers to the prompt's answer format and the dataset's labels"
    )
    confidence: bool = Field(
        False, description="record the probability of each token of an answer, and give each mention a confidence"
    )
    max_tokens: Positive = Field(description="longest answer in tokens")
    max_model_len: Positive = Field(description="longest prompt and answer in tokens")
    max_num_seqs: Positive = Field(description="sentences in one batch")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="number format; auto: the model's own, or float16 on a GPU without bfloat16"
    )
    shards: Annotated[int, Field(ge=1, le=10_000)] = Field(
        description="number of parts of a split, each predicted by its own job"
    )
    gpus: Count = Field(description="GPUs of one shard (tensor parallel); 0: the CPU")

    @model_validator(mode="after")
    def _there_is_room_for_a_prompt(self) -> Self:
        if self.max_tokens >= self.max_model_len:
            raise ValueError(
                f"max_model_len: {self.max_model_len} leaves no room for a prompt; it must be larger than max_tokens "
                f"({self.max_tokens})"
            )
        return self

    @property
    def environment(self) -> str:
        """The environment that predicts and serves with these settings."""
        return "predict-cuda" if self.gpus else "predict-cpu"

    def engine_settings(self) -> EngineSettings:
        """Return the settings that answers depend on."""
        settings: EngineSettings = {
            "max_tokens": self.max_tokens,
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_num_seqs,
            "dtype": self.dtype,
            "gpus": self.gpus,
        }
        return {**settings, "confidence": True} if self.confidence else settings


# --- the sheet and the selection ----------------------------------------------------------------------------------

RESERVED_RUNS = ("audit", "base_model", "datasets", "groups", "models", "report")
"""Folders under results/ that are not those of a run."""


def _check_run_name(value: str) -> str:
    if value in RESERVED_RUNS or value.endswith((".tsv", ".json", ".html")):
        raise ValueError(f"{value!r} is reserved for a folder or file under results/; choose another name")
    return value


class SheetRow(Section):
    """A row of conf/runs.tsv. All fields are text."""

    run: Annotated[Name, AfterValidator(_check_run_name)] = Field(
        description="the run's name and its folder under results/"
    )
    dataset: str = Field(description="a name in conf/datasets.yaml")
    model: str = Field(description="a name in conf/models.yaml")
    prompt: str = Field(description="a name in conf/prompts.yaml")
    train: str = Field(
        description="a name in conf/recipes.yaml; none: the base model without training; vote:RUN: the majority vote "
        "of that run's seeds; crf: the CRF baseline; import:NAME: an entry of conf/imports.yaml. vote, crf and import "
        "use no model, prompt or decode settings: write - there"
    )
    decode: str = Field(description="a name in conf/decode.yaml")
    seeds: Annotated[
        str, _matching(r"[0-9]{1,9}(,[0-9]{1,9})*", "a list of whole numbers with commas between them")
    ] = Field(description="whole numbers, comma-separated")
    sweep: Annotated[
        str,
        _matching(
            r"|[a-z0-9_]+=[A-Za-z0-9_.+-]+(,[A-Za-z0-9_.+-]+)*(;[a-z0-9_]+=[A-Za-z0-9_.+-]+(,[A-Za-z0-9_.+-]+)*)*",
            "a sweep; write key=value,value with semicolons between keys",
        ),
    ] = Field(
        "",
        description="values to try; each combination is a run: lora_rank=8,16;learning_rate=1.0e-4,2.0e-4;prompt=a,b;"
        "train_rows=100,300. train_rows is the number of training sentences; the rows of a smaller number are among "
        "those of a larger one",
    )


def _split_names(value: Any) -> Any:
    """Return names as a tuple. The value of `--config runs=a,b` is text."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(","))
    return tuple(value) if isinstance(value, list) else value


def _check_distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if repeated := [value for number, value in enumerate(values) if value in values[:number]]:
        raise ValueError(f"{repeated[0]!r} is given twice")
    return values


class Selection(Section):
    """conf/config.yaml: what a command covers."""

    runs: Annotated[tuple[str, ...], BeforeValidator(_split_names), Field(min_length=1)] = Field(
        description="the runs that results/metrics.tsv covers, names from conf/runs.tsv"
    )
    splits: Annotated[
        tuple[Literal["dev", "test"], ...],
        BeforeValidator(_split_names),
        AfterValidator(_check_distinct),
        Field(min_length=1),
    ] = Field(("dev",), description="the labelled splits that the tables cover; test only if it is labelled")
    cuda: Literal["auto", 12, 13] = Field(
        "auto",
        description="the CUDA version that the engines' environments are built for; auto: 12 if the driver is older "
        "than 580, else 13. Finished results are kept when it changes",
    )
    local_archive: dict[str, FilePath] = Field(
        {}, description="dataset -> path of a local copy of its archive, used instead of a download"
    )
