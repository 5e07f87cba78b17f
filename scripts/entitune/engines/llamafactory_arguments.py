"""All arguments of LLaMA-Factory in three classes: set by a recipe, set by the pipeline, or refused.

A recipe sets how an adapter is trained: optimisation, adapter, speed and memory. Settings that change tokens, rows or
the meaning of a row belong to the dataset, the prompt or the model, because prediction and serving must use them too.
`RecipeArguments` lists the first class with types and bounds, `OWNED` and `REFUSED` the others with the reason. A test
compares the three with LLaMA-Factory's own argument classes, so it fails if a new release has a new argument.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]


class RecipeArguments(BaseModel):
    """The arguments that a recipe may set. None means LLaMA-Factory's default.

    The pipeline relies on arguments with a single allowed value: a recipe may state that value, but not another one.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    stage: Literal["sft"] = "sft"
    do_train: Literal[True] = True
    finetuning_type: Literal["lora"] = "lora"
    overwrite_cache: Literal[True] = True
    plot_loss: Literal[True] = True
    save_only_model: Literal[False] = False
    disable_tqdm: Literal[True] = True
    report_to: Literal["none"] = "none"

    # Rows
    cutoff_len: Count | None = None
    val_size: Share | None = None
    neat_packing: bool | None = None
    preprocessing_batch_size: Count | None = None
    preprocessing_num_workers: Count | None = None
    train_sampling_strategy: Literal["random", "sequential", "group_by_length"] | None = None

    # The base in 4 bits (QLoRA)
    quantization_bit: Literal[4] | None = None
    quantization_method: Literal["bnb"] | None = None
    quantization_type: Literal["nf4", "fp4"] | None = None
    double_quantization: bool | None = None

    # Adapter
    lora_rank: Count | None = None
    lora_alpha: Count | None = None
    lora_dropout: Share | None = None
    lora_target: Text | None = None
    loraplus_lr_ratio: Positive | None = None
    loraplus_lr_embedding: Positive | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    pissa_init: bool | None = None
    pissa_iter: Annotated[int, Field(ge=-1)] | None = None
    additional_target: Text | None = None

    # Optimisation
    learning_rate: Positive | None = None
    num_train_epochs: Positive | None = None
    max_steps: Count | None = None
    per_device_train_batch_size: Count | None = None
    gradient_accumulation_steps: Count | None = None
    lr_scheduler_type: (
        Literal[
            "linear",
            "cosine",
            "cosine_with_restarts",
            "cosine_with_min_lr",
            "cosine_warmup_with_min_lr",
            "polynomial",
            "constant",
            "constant_with_warmup",
            "inverse_sqrt",
            "warmup_stable_decay",
        ]
        | None
    ) = None
    lr_scheduler_kwargs: dict[str, JsonValue] | None = None
    warmup_steps: NotNegative | None = None
    warmup_ratio: Share | None = None
    optim: (
        Literal[
            "adamw_torch_fused",
            "adamw_torch",
            "adafactor",
            "sgd",
            "adagrad",
            "rmsprop",
            "adamw_8bit",
            "paged_adamw_32bit",
            "paged_adamw_8bit",
        ]
        | None
    ) = None
    optim_args: Text | None = None
    weight_decay: NotNegative | None = None
    adam_beta1: Share | None = None
    adam_beta2: Share | None = None
    adam_epsilon: Positive | None = None
    max_grad_norm: NotNegative | None = None
    label_smoothing_factor: Share | None = None
    neftune_noise_alpha: NotNegative | None = None
    moe_aux_loss_coef: NotNegative | None = None
    average_tokens_across_devices: bool | None = None
    full_determinism: bool | None = None

    # Speed and memory
    use_cpu: bool | None = None
    bf16: bool | None = None
    fp16: bool | None = None
    tf32: bool | None = None
    pure_bf16: bool | None = None
    bf16_full_eval: bool | None = None
    fp16_full_eval: bool | None = None
    flash_attn: Literal["auto", "disabled", "sdpa"] | None = None
    enable_liger_kernel: bool | None = None
    disable_gradient_checkpointing: bool | None = None
    use_reentrant_gc: bool | None = None
    use_unsloth_gc: bool | None = None
    upcast_layernorm: bool | None = None
    upcast_lmhead_output: bool | None = None
    low_cpu_mem_usage: bool | None = None
    torch_compile: bool | None = None
    torch_compile_backend: Text | None = None
    torch_compile_mode: Text | None = None
    torch_empty_cache_steps: Count | None = None
    dataloader_num_workers: Annotated[int, Field(ge=0)] | None = None
    dataloader_pin_memory: bool | None = None
    dataloader_persistent_workers: bool | None = None
    dataloader_prefetch_factor: Count | None = None
    ddp_backend: Literal["nccl", "gloo"] | None = None
    ddp_broadcast_buffers: bool | None = None
    ddp_bucket_cap_mb: Count | None = None
    ddp_find_unused_parameters: bool | None = None
    ddp_static_graph: bool | None = None
    ddp_timeout: Count | None = None

    # Logging, evaluation and checkpoints
    logging_strategy: Literal["steps", "epoch"] | None = None
    logging_steps: Positive | None = None
    logging_first_step: bool | None = None
    include_num_input_tokens_seen: Literal["all", "non_padding", "no"] | bool | None = None
    include_effective_tokens_per_second: bool | None = None
    print_param_status: bool | None = None
    skip_memory_metrics: bool | None = None
    do_eval: bool | None = None
    eval_strategy: Literal["no", "steps", "epoch"] | None = None
    eval_steps: Positive | None = None
    eval_delay: NotNegative | None = None
    eval_on_start: bool | None = None
    eval_accumulation_steps: Count | None = None
    per_device_eval_batch_size: Count | None = None
    prediction_loss_only: bool | None = None
    save_strategy: Literal["steps", "epoch", "no"] | None = None
    save_steps: Positive | None = None
    save_total_limit: Count | None = None
    load_best_model_at_end: bool | None = None
    metric_for_best_model: Literal["loss", "eval_loss"] | None = None
    greater_is_better: Literal[False] | None = None


def _by_key(table: Mapping[str, str]) -> dict[str, str]:
    """Turn a table `reason -> keys separated by white space` into `key -> reason`."""
    return {key: reason for reason, keys in table.items() for key in keys.split()}


OWNED = _by_key(
    {
        "comes from the run's model: see conf/models.yaml": "model_name_or_path",
        "comes from the run's model: set `template` in conf/models.yaml": "template",
        "comes from the run's model: set `thinking` in conf/models.yaml": "enable_thinking preserve_thinking",
        "comes from the run's prompt: set `system` in conf/prompts.yaml": "default_system",
        "comes from the run's dataset: see conf/datasets.yaml": "dataset dataset_dir",
        "comes from the training split: set val_size, or `select` in conf/recipes.yaml": "eval_dataset",
        "comes from the run's seeds: set `seeds` in conf/runs.tsv": "seed data_seed",
        "is set for all runs: the loss covers the answer, not the examples of a few-shot prompt": "mask_history",
        "is set for all runs: checkpoints must not be mixed": "output_dir overwrite_output_dir resume_from_checkpoint "
        "ignore_data_skip",
        "is set for all runs: a loss that is not finite must be seen": "logging_nan_inf_filter",
        "is set for all runs: train_adapter reads the log": "log_level log_level_replica log_on_each_node",
        "is chosen when training starts, from `gpus` in conf/recipes.yaml": "local_rank master_addr master_port",
    }
)
"""Argument that the pipeline fills in -> the reason, or where to set it instead."""

REFUSED = _by_key(
    {
        "changes the tokens of a row in training, but not in prediction and serving": "add_tokens add_special_tokens "
        "new_special_tokens_config init_special_tokens resize_vocab split_special_tokens use_fast_tokenizer",
        "changes what the model learns from a row: the loss must cover only the answer": "train_on_prompt "
        "ignore_pad_token_for_loss",
        "is for tool calls, which the prompts here do not have": "tool_format",
        "replaces the rows that the pipeline has checked": "tokenized_path cache_dir media_dir",
        "silently leaves out rows; give the dataset a smaller training split instead": "max_samples "
        "dataloader_drop_last streaming buffer_size",
        "mixes several datasets; a run has one": "mix_strategy interleave_probs eval_on_each_dataset",
        "lets the rows of a batch see each other; use neat_packing, which keeps them apart": "packing",
        "is set by train_sampling_strategy: sequential": "disable_shuffling",
        "is not needed: lengths are counted from the rows": "length_column_name",
        "is not needed: files are read from this machine": "data_shared_file_system",
        "starts from an adapter that the run's manifest does not record": "adapter_name_or_path adapter_folder "
        "create_new_adapter",
        "runs Python code that comes with a model or dataset": "trust_remote_code",
        "is for a model hub; conf/models.yaml has the models to fetch": "model_revision hf_hub_token ms_hub_token "
        "om_hub_token",
        "sends results to a hub": "push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push "
        "hub_revision",
        "sends results to a service": "run_name project trackio_space_id trackio_bucket_id trackio_static_space_id "
        "logging_dir use_swanlab swanlab_project swanlab_workspace swanlab_run_name swanlab_mode swanlab_api_key "
        "swanlab_logdir swanlab_lark_webhook_url swanlab_lark_secret",
        "changes the model only in training: another model would predict": "rope_scaling shift_attn "
        "mixture_of_depths train_from_scratch",
        "belongs to another kind of training than LoRA": "freeze_trainable_layers freeze_trainable_modules "
        "freeze_extra_modules module_dropout oft_rank oft_block_size oft_target use_llama_pro use_galore galore_target "
        "galore_rank galore_update_interval galore_scale galore_proj_type galore_layerwise use_apollo apollo_target "
        "apollo_rank apollo_update_interval apollo_scale apollo_proj apollo_proj_type apollo_scale_type "
        "apollo_layerwise apollo_scale_front use_badam badam_mode badam_start_block badam_switch_mode "
        "badam_switch_interval badam_update_ratio badam_mask_mode badam_verbose use_muon optim_target_modules",
        "belongs to another stage than supervised fine-tuning": "pref_beta pref_ftx pref_bco_weight pref_loss "
        "dpo_label_smoothing kto_chosen_weight kto_rejected_weight simpo_gamma ppo_buffer_size ppo_epochs "
        "ppo_score_norm ppo_target ppo_whiten_rewards ref_model ref_model_adapters ref_model_quantization_bit "
        "reward_model reward_model_adapters reward_model_quantization_bit reward_model_type ld_alpha",
        "replaces the cross entropy of the answer, which the memory estimate and fused kernels assume": (
            "use_dft_loss use_asft_loss asft_alpha use_eaft_loss eaft_alpha"
        ),
        "writes the converted adapter where the pipeline does not look for it; use pissa_init alone": "pissa_convert",
        "would lose its count when a killed training resumes": "early_stopping_steps "
        "restore_callback_states_from_checkpoint",
        "writes checkpoints in a form that the pipeline cannot resume from": "deepspeed fsdp fsdp_config "
        "enable_jit_checkpoint save_on_each_node",
        "makes the effective batch depend on the machine": "auto_find_batch_size accelerator_config parallelism_config",
        "needs a package or a device that the train environment does not support": "use_unsloth use_v1_kernels use_kt "
        "kt_weight_path kt_expert_checkpoint_path kt_use_lora_experts kt_lora_expert_num "
        "kt_lora_expert_intermediate_size use_mca use_hyper_parallel hyper_parallel_args ray_num_workers "
        "ray_init_kwargs fp8 fp8_backend fp8_enable_fsdp_float8_all_gather use_adam_mini "
        "quantization_device_map",
        "has another name in LLaMA-Factory: enable_liger_kernel": "use_liger_kernel liger_kernel_config",
        "has another name in LLaMA-Factory: disable_gradient_checkpointing, use_reentrant_gc": "gradient_checkpointing "
        "gradient_checkpointing_kwargs",
        "is for images, video and audio": "image_max_pixels image_min_pixels image_do_pan_and_scan crop_to_patches "
        "video_max_pixels video_min_pixels video_fps video_maxlen use_audio_in_video audio_sampling_rate "
        "freeze_vision_tower freeze_multi_modal_projector freeze_language_model",
        "is for exporting a model; merge_adapter does that": "export_dir export_size export_device "
        "export_quantization_bit export_quantization_dataset export_quantization_nsamples export_quantization_maxlen "
        "export_legacy_format export_hub_model_id",
        "is for predicting with LLaMA-Factory; predictions are made by vLLM, see conf/decode.yaml": "infer_backend "
        "infer_dtype offload_folder use_kv_cache use_cache vllm_maxlen vllm_gpu_util vllm_enforce_eager "
        "vllm_max_lora_rank vllm_config sglang_maxlen sglang_mem_fraction sglang_tp_size sglang_config "
        "sglang_lora_backend do_predict predict_with_generate generation_max_length generation_num_beams "
        "generation_config sortish_sampler eval_num_beams compute_accuracy include_for_metrics batch_eval_metrics "
        "eval_do_concat_batches eval_use_gather_object do_sample temperature top_p top_k num_beams max_length "
        "max_new_tokens repetition_penalty length_penalty skip_special_tokens",
        "is for finding errors in the trainer": "debug enable_torch_profiler profiler_output_dir profiler_wait_steps "
        "profiler_warmup_steps profiler_active_steps profiler_repeat profiler_record_shapes profiler_profile_memory "
        "profiler_with_stack profile_modules",
        "is set by LLaMA-Factory itself": "remove_unused_columns label_names",
    }
)
"""Argument that no recipe may set -> the reason."""

OLD_NAMES = {
    "group_by_length": "train_sampling_strategy: group_by_length",
    "load_in_4bit": "quantization_bit: 4",
    "batch_size": "per_device_train_batch_size",
}
"""Name in older releases or other trainers -> what to write instead."""

RECIPE = frozenset(RecipeArguments.model_fields)
"""The arguments that a recipe may set."""

FIXED = {name: field.default for name, field in RecipeArguments.model_fields.items() if field.default is not None}
"""Arguments with one allowed value, which the pipeline fills in if a recipe leaves them out."""

NOT_ON_A_CPU = ("fp16", "fp16_full_eval", "pure_bf16", "tf32", "enable_liger_kernel", "use_unsloth_gc")
"""Switches that need a GPU."""


def evaluates(arguments: Mapping[str, Any]) -> bool:
    """Return whether a training evaluates its loss on held-out rows."""
    if arguments.get("val_size") or arguments.get("do_eval") or arguments.get("eval_on_start"):
        return True
    return (arguments.get("eval_strategy") or "no") != "no"


def check_recipe(arguments: Mapping[str, Any], where: str, selects: bool = False) -> list[str]:
    """Find the mistakes in the arguments of a recipe, or of a run with its sweep.

    Args:
        arguments: LLaMA-Factory's arguments, as read from YAML.
        where: The file, or the file and the row, which begins each message.
        selects: Whether the recipe holds out rows to choose a checkpoint (`select` in conf/recipes.yaml).

    Returns:
        One message per mistake: place, key, reason and fix. Empty for a valid recipe.
    """
    try:
        RecipeArguments.model_validate(dict(arguments))
        problems = []
    except ValidationError as error:
        # One message per key: if several types are allowed, pydantic reports an error for each.
        problems = list({str(found["loc"][0]): _describe(found, arguments) for found in error.errors()}.values())
    problems = problems or _check_combinations(arguments, selects)
    return [f"{where}: {problem}" for problem in problems]


def _describe(error: Any, arguments: Mapping[str, Any]) -> str:
    key = str(error["loc"][0])
    if error["type"] != "extra_forbidden":
        return f"{key}: {_explain(arguments[key], error['msg'])}"
    if key in OWNED:
        return f"{key}: the pipeline sets this argument: it {OWNED[key]}; remove it"
    if key in REFUSED:
        return f"{key}: {REFUSED[key]}; remove it"
    near = _nearest(key)
    return f"{key}: not an argument of LLaMA-Factory" + (f"; did you mean {near}?" if near else "; remove it")


def _nearest(key: str) -> str | None:
    """Return the argument that was probably intended: by an old name, by a part of its name, or by similar spelling."""
    if key in OLD_NAMES:
        return OLD_NAMES[key]
    longer = [name for name in RecipeArguments.model_fields if len(key) > 4 and key in name]
    near = longer or difflib.get_close_matches(key, sorted(RECIPE), 1)
    return next(iter(near or difflib.get_close_matches(key, [*OWNED, *REFUSED], 1, cutoff=0.8)), None)


def _explain(value: Any, message: str) -> str:
    """Return why a value is wrong, or how YAML may have misread it."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            float(value)
            return f"YAML reads {value} as text; write the number without quotes and with a decimal point, as 1.0e-4"
    words = "; YAML reads yes, no, on and off as true and false: put the word in quotes"
    return f"{value!r}: {message[0].lower()}{message[1:]}" + (words if isinstance(value, bool) else "")


def _check_combinations(arguments: Mapping[str, Any], selects: bool) -> list[str]:
    """Find arguments that do not fit together. Each single value must be valid."""
    given = {key: value for key, value in arguments.items() if value not in (None, False)}
    save, evaluation = given.get("save_strategy", "steps"), given.get("eval_strategy", "no")
    problems = []
    if "cutoff_len" not in given:
        problems.append("cutoff_len: missing; set the most tokens that a row may have")
    targets = [name.strip() for name in given.get("lora_target", "all").split(",")]
    if "all" in targets and len(targets) > 1:
        problems.append(
            "lora_target: next to other names, `all` is read as the name of a layer; write only all, or only names"
        )
    for key, other in (("max_steps", "num_train_epochs"), ("warmup_steps", "warmup_ratio"), ("fp16", "bf16")):
        if key in given and other in given:
            problems.append(f"{key}: excludes {other}; keep one of them")
    if "use_cpu" in given:
        problems += [f"{key}: needs a GPU, but use_cpu is true" for key in NOT_ON_A_CPU if key in given]
        if given.get("optim", "").endswith("bit"):
            problems.append(f"optim: {given['optim']} needs a GPU, but use_cpu is true")
    if "pissa_init" in given and given.get("pissa_iter") != -1:
        problems.append(
            "pissa_init: needs pissa_iter: -1 (and `adapter: merged` in conf/decode.yaml): the fast decomposition "
            "starts from random numbers, so the adapter would be merged into other weights than those it was trained on"
        )
    if "pissa_init" in given and "quantization_bit" in given:
        problems.append("pissa_init: needs the original weights, which quantization_bit replaces; remove one of them")
    if given.get("train_sampling_strategy") == "group_by_length" and save == "steps":
        problems.append(
            "save_strategy: must be epoch with group_by_length, which draws a new order of rows when a training "
            "resumes: resuming within an epoch would skip some rows and repeat others"
        )
    if selects:
        if save == "no":
            problems.append("save_strategy: `no` leaves no checkpoints for `select`; write steps or epoch")
        if "load_best_model_at_end" in given:
            problems.append("load_best_model_at_end: `select` chooses the checkpoint by F1; remove one of them")
        if "val_size" in given:
            problems.append("val_size: `select` already holds out rows, also for evaluations; remove one of them")
    elif "val_size" not in given and (evaluation != "no" or "do_eval" in given or "eval_on_start" in given):
        problems.append("val_size: missing; an evaluation needs held-out rows")
    if evaluation == "steps" and "eval_steps" not in given:
        problems.append("eval_steps: missing; eval_strategy is steps")
    for key in ("logging_steps", "eval_steps", "save_steps"):
        if given.get(key, 0) > 1 and given[key] % 1:  # true for infinity as well
            problems.append(f"{key}: must be a share below 1 or a whole number")
    if "load_best_model_at_end" in given:
        if evaluation != save:
            problems.append("load_best_model_at_end: needs eval_strategy and save_strategy to be equal")
        elif save == "steps" and given.get("save_steps", 500) % given.get("eval_steps", 500):
            problems.append("load_best_model_at_end: needs save_steps to be a multiple of eval_steps")
    if "dataloader_prefetch_factor" in given and "dataloader_num_workers" not in given:
        problems.append("dataloader_prefetch_factor: needs dataloader_num_workers of 1 or more")
    return problems
