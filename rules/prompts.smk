"""Prompts: canonical sentences -> alpaca rows -> token ids, with checks of lengths and of the prompts of serving.

The examples of few-shot prompts and the held-out rows of trainings are drawn here. They share no sentence with the
splits that runs are scored on, and no example is held out.

If a dataset has `windows: true`, split_windows splits the sentences that are too long; each window has its own row.
"""

from entitune.study import shows_definitions

WHOLE = paths.PromptData("{dataset}", "{prompt}")
IN_WINDOWS = paths.PromptData("{dataset}", "{prompt}", "{model}", paths.windows("{limits}"))
# The part of file names for held-out rows: TunedRun.selection.
HELD_OUT = ".held_out-{share}{rows}.seed-{seed}"


def prompt_files(wildcards) -> dict[str, str]:
    """Return the prompt's text files, and its examples if it has any."""
    prompt = entry_of("prompts", wildcards.prompt)
    files = {turn: f"conf/{path}" for turn, path in prompt.turns().items()}
    if prompt.shots:
        files["examples"] = paths.PromptData(wildcards.dataset, wildcards.prompt).examples
    return files


def prompt_options(wildcards) -> str:
    """Return the options of build_alpaca that describe the prompt."""
    prompt = entry_of("prompts", wildcards.prompt)
    options = [option(f"--{name}", file) for name, file in prompt_files(wildcards).items()]
    options.append(option("--answer", prompt.answer))
    if shows_definitions(prompt):
        definitions = {label.name: label.description for label in dataset_of(wildcards).labels}
        options.append(option("--definitions", json.dumps(definitions, ensure_ascii=False)))
    return " ".join(options)


rule draw_examples:
    """the examples of a few-shot prompt"""
    input:
        sentences=paths.sentences("{dataset}", "train"),
        judged=judged_splits,
    output:
        examples=DATA.examples,
    log:
        "logs/draw_examples/{dataset}/{prompt}.log",
    localrule: True
    params:
        code=code_digest("draw_examples"),
        shots=lambda w: entry_of("prompts", w.prompt).shots,
        seed=lambda w: entry_of("prompts", w.prompt).shots_seed,
    shell:
        "python scripts/draw_examples.py --sentences {input.sentences} --exclude {input.judged} --count {params.shots}"
        " --seed {params.seed} --output {output.examples} 2>&1 | tee {log} >&2"


rule build_alpaca:
    """alpaca rows of a split under a prompt"""
    input:
        unpack(prompt_files),
        sentences=paths.sentences("{dataset}", "{split}"),
    output:
        alpaca=WHOLE.alpaca("{split}"),
        summary=WHOLE.answers_summary("{split}"),
    log:
        "logs/build_alpaca/{dataset}/{prompt}/{split}.log",
    localrule: True
    params:
        code=code_digest("build_alpaca"),
        labels=lambda w: labels_of(dataset_of(w)),
        on_invalid=lambda w: dataset_of(w).on_invalid,
        options=prompt_options,
    shell:
        "python scripts/build_alpaca.py --sentences {input.sentences} --labels {params.labels:q} {params.options}"
        " --on-invalid {params.on_invalid} --output {output.alpaca} --summary {output.summary} 2>&1 | tee {log} >&2"


def limit_options(wildcards) -> str:
    """Return the options with the limits of a window: cutoff_len, or max_model_len and max_tokens."""
    names = ("--max-model-len", "--max-tokens") if "-" in wildcards.limits else ("--cutoff-len",)
    return " ".join(f"{name} {limit}" for name, limit in zip(names, wildcards.limits.split("-")))


rule split_windows:
    """alpaca rows of a split, with long sentences split into windows"""
    input:
        alpaca=WHOLE.alpaca("{split}"),
        sentences=paths.sentences("{dataset}", "{split}"),
        model=paths.model("{model}"),
        env=ancient(paths.environment("train")),
        lock=paths.locks("train"),
    output:
        alpaca=IN_WINDOWS.alpaca("{split}"),
        windows=IN_WINDOWS.asked("{split}"),
        summary=IN_WINDOWS.windows_summary("{split}"),
    log:
        "logs/split_windows/{dataset}/{prompt}/{model}/{limits}/{split}.log",
    resources:
        mem_mb=lambda w, attempt: growing(4000, attempt),
        runtime=lambda w, attempt: growing(30, attempt),
    params:
        code=code_digest("split_windows"),
        python=paths.python("train"),
        chat=lambda w: chat_option(entry_of("models", w.model)),
        answer=lambda w: entry_of("prompts", w.prompt).answer,
        limits=limit_options,
    shell:
        "{params.python} scripts/split_windows.py --alpaca {input.alpaca} --sentences {input.sentences}"
        " --answer {params.answer} --model $(dirname {input.model}) {params.chat} {params.limits}"
        " --output {output.alpaca} --windows {output.windows} --summary {output.summary} > {log} 2>&1"


def alpaca_of(wildcards) -> str:
    """Return the alpaca rows of a split or of its windows. Rules without a split use the training split."""
    data = paths.PromptData(wildcards.dataset, wildcards.prompt, wildcards.model, wildcards.windows)
    return data.alpaca(wildcards.get("split", "train"))


rule encode_split:
    """the prompts and answers of a split as token ids, by LLaMA-Factory's template"""
    input:
        alpaca=alpaca_of,
        model=paths.model("{model}"),
        env=ancient(paths.environment("train")),
        lock=paths.locks("train"),
    output:
        tokens=DATA.tokens("{split}"),
    log:
        "logs/encode_split/{dataset}/{prompt}/{model}{windows}/{split}.log",
    resources:
        mem_mb=lambda w, attempt: growing(4000, attempt),
        runtime=lambda w, attempt: growing(30, attempt),
    params:
        code=code_digest("encode_split"),
        python=paths.python("train"),
        chat=lambda w: chat_option(entry_of("models", w.model)),
        # A sentence that is scored is never dropped.
        on_invalid=lambda w: dataset_of(w).on_invalid if w.split == "train" else "fail",
    shell:
        "{params.python} scripts/encode_split.py --alpaca {input.alpaca} --model $(dirname {input.model})"
        " {params.chat} --on-invalid {params.on_invalid} --output {output.tokens} > {log} 2>&1"


rule hold_out_rows:
    """held-out rows of the training split, and the rows that are trained on"""
    input:
        sentences=paths.sentences("{dataset}", "train"),
        judged=judged_splits,
        examples=lambda w: prompt_files(w).get("examples", []),
    output:
        kept=DATA.kept_rows(HELD_OUT),
        held_out=DATA.held_out(HELD_OUT),
    log:
        "logs/hold_out_rows/{dataset}/{prompt}/{share}{rows}.{seed}.log",
    wildcard_constraints:
        share=r"[\d.e-]+",
        rows=r"(?:\.rows-\d+)?",
    localrule: True
    params:
        code=code_digest("select_rows"),
        rows=lambda w, input: (
            f"--rows {w.rows.rpartition('-')[2]} --exclude {shlex.join(input.judged)}" if w.rows else ""
        ),
    shell:
        "python scripts/select_rows.py --sentences {input.sentences} --hold-out {wildcards.share}"
        " --never-held-out {input.judged} {input.examples} {params.rows} --seed {wildcards.seed}"
        " --held-out {output.held_out} --output {output.kept} 2>&1 | tee {log} >&2"


def selected_rows(wildcards) -> list[str]:
    """Return the file of the rows that a training is limited to; empty if it uses all rows."""
    found = re.fullmatch(r"\.rows-(\d+)\.seed-(\d+)", wildcards.selection)
    return [paths.selected_rows(wildcards.dataset, *found.groups())] if found else []


rule register_dataset:
    """the training rows that fit in cutoff_len, and dataset_info.json"""
    input:
        alpaca=alpaca_of,
        tokens=DATA.tokens("train"),
        selected=selected_rows,
    output:
        train=DATA.training_rows("{cutoff}", "{selection}"),
        info=DATA.training_rows("{cutoff}", "{selection}", "dataset_info.json"),
        too_long=DATA.training_rows("{cutoff}", "{selection}", "too_long.jsonl"),
        summary=DATA.training_rows("{cutoff}", "{selection}", "train.summary.json"),
    log:
        "logs/register_dataset/{dataset}/{prompt}/{model}{windows}/{cutoff}{selection}.log",
    wildcard_constraints:
        selection=r"(?:\.rows-\d+\.seed-\d+)?",
    localrule: True
    params:
        code=code_digest("register_dataset"),
        on_invalid=lambda w: dataset_of(w).on_invalid,
        max_dropped=lambda w: dataset_of(w).max_dropped,
        selected=lambda w, input: option("--selected", input.selected),
    shell:
        "python scripts/register_dataset.py --alpaca {input.alpaca} --tokens {input.tokens} {params.selected}"
        " --cutoff-len {wildcards.cutoff} --on-invalid {params.on_invalid} --max-dropped {params.max_dropped}"
        " --name {wildcards.dataset}_train --output-dir $(dirname {output.train}) 2>&1 | tee {log} >&2"


# The same for trainings with held-out rows, which are registered as well.
use rule register_dataset as register_with_held_out with:
    input:
        alpaca=alpaca_of,
        tokens=DATA.tokens("train"),
        selected=DATA.kept_rows("{selection}"),
        held_out=DATA.held_out("{selection}"),
    output:
        train=DATA.training_rows("{cutoff}", "{selection}"),
        info=DATA.training_rows("{cutoff}", "{selection}", "dataset_info.json"),
        too_long=DATA.training_rows("{cutoff}", "{selection}", "too_long.jsonl"),
        summary=DATA.training_rows("{cutoff}", "{selection}", "train.summary.json"),
        held_out=DATA.training_rows("{cutoff}", "{selection}", "held_out.json"),
    log:
        "logs/register_with_held_out/{dataset}/{prompt}/{model}{windows}/{cutoff}{selection}.log",
    wildcard_constraints:
        selection=r"\.held_out-[\d.e-]+(?:\.rows-\d+)?\.seed-\d+",
    params:
        code=code_digest("register_dataset"),
        on_invalid=lambda w: dataset_of(w).on_invalid,
        max_dropped=lambda w: dataset_of(w).max_dropped,
        selected=lambda w, input: f"--selected {input.selected} --held-out {input.held_out}",


rule check_parity:
    """a check that serving would send the prompts that training saw"""
    input:
        alpaca=alpaca_of,
        tokens=DATA.tokens("{split}"),
        model=paths.model("{model}"),
        env=ancient(paths.environment("{env}")),
        lock=lambda w: paths.locks(w.env),
    output:
        parity=DATA.parity("{split}", "{env}"),
    log:
        "logs/check_parity/{dataset}/{prompt}/{model}{windows}/{split}.{env}.log",
    resources:
        mem_mb=lambda w, attempt: growing(4000, attempt),
        runtime=lambda w, attempt: growing(30, attempt),
    params:
        code=code_digest("check_parity"),
        python=paths.python("{env}"),
        chat=lambda w: chat_option(entry_of("models", w.model)),
    shell:
        "{params.python} scripts/check_parity.py --alpaca {input.alpaca} --tokens {input.tokens}"
        " --model $(dirname {input.model}) {params.chat} --output {output.parity} > {log} 2>&1"
