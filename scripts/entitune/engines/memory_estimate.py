"""Estimate the GPU memory and time of a run from the model's shape and the recipe, before anything is downloaded.

The estimate counts what PyTorch 2.13, transformers 5.6, peft 0.18 and LLaMA-Factory 0.9.5 keep in memory during LoRA
training in bfloat16. `tests/test_resources.py` compares the activations with what autograd saves. 1 GB is 1e9 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

GB = 1e9

PEAK_TFLOPS = {
    "B200": 2250,
    "H200": 989,
    "H100 PCIe": 756,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L40": 181,
    "L4": 121,
    "A40": 150,
    "A10": 125,
    "A30": 165,
    "RTX 6000 Ada": 364,
    "RTX A6000": 155,
    "RTX 4090": 165,
    "RTX 3090": 71,
    "V100": 125,
    "T4": 65,
}
"""Part of the name that nvidia-smi prints -> dense half-precision matrix throughput in NVIDIA's data sheet.
The first matching entry counts, so longer names come before names that they contain."""

REFERENCE_HFU = 0.2
"""The share of the peak throughput that the reference's training reached, with the operations that gradient
checkpointing repeats (HFU): about 300 tokens x 9,673 examples x 3 epochs, 6 x 7.07e9 operations per token, in 6,306 s
on an A100 (312 TFLOPS). gpu_check measures it; docs/gpu.md has the figures of an H100."""

CONTEXT_BYTES = 0.6 * GB
"""The memory of the CUDA context and of the libraries' kernels, outside PyTorch's own."""

VLLM_SHARE = 0.9
"""The largest share of a GPU's memory that vLLM uses (gpu_memory_utilization; 0.92 in vLLM 0.32, 0.9 in 0.19)."""

ALLOCATOR_SHARE = 0.1
"""The reserve of PyTorch's allocator as a share of the temporary memory (batches vary in length)."""


@dataclass(frozen=True)
class Shape:
    """The shape of a decoder with grouped-query attention and a gated MLP: Qwen2, Llama and related models."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    """Whether input and output embeddings are one matrix."""
    qkv_bias: bool
    qk_norm: bool = False
    """Whether queries and keys are normalised, with one weight per dimension of a head (Qwen3)."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Shape:
        """Read the shape from a config.json, or from a copy of it under conf/shapes, which may have fewer keys.

        Raises KeyError if a key is missing.
        """
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        return cls(
            hidden=hidden,
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads", heads),
            head_dim=config.get("head_dim") or hidden // heads,
            intermediate=config["intermediate_size"],
            vocab=config["vocab_size"],
            tied=config["tie_word_embeddings"],
            qkv_bias=config["model_type"] == "qwen2",
            qk_norm=config["model_type"] == "qwen3",
        )

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear layer of a block."""
        query, key_value = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, query),
            "k_proj": (self.hidden, key_value),
            "v_proj": (self.hidden, key_value),
            "o_proj": (query, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }


def parameters(shape: Shape) -> int:
    """Return the number of parameters of the base model."""
    block = sum(inputs * outputs for inputs, outputs in shape.linears.values()) + 2 * shape.hidden
    if shape.qkv_bias:
        block += sum(shape.linears[name][1] for name in ("q_proj", "k_proj", "v_proj"))
    if shape.qk_norm:
        block += 2 * shape.head_dim
    embeddings = shape.vocab * shape.hidden * (1 if shape.tied else 2)
    return embeddings + shape.layers * block + shape.hidden


QUANTISED_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per weight in 4 bits: half a byte, one byte for the scale of 64 weights, and four bytes for the scale of 256 of
these scales (double quantisation; Dettmers et al. 2023, QLoRA, section 3)."""

SCALED_BYTES = 0.5 + 4 / 64
"""Bytes per weight in 4 bits without double quantisation: the scales are float32."""


def weight_bytes(shape: Shape, training: LoraTraining) -> float:
    """Return the bytes of the base model in training. bitsandbytes quantises only the linear layers of the blocks."""
    if not training.quantised:
        return 2 * parameters(shape)
    linear = shape.layers * sum(inputs * outputs for inputs, outputs in shape.linears.values())
    each = QUANTISED_BYTES if training.double_quantisation else SCALED_BYTES
    return each * linear + 2 * (parameters(shape) - linear)


def lora_parameters(shape: Shape, rank: int, target: str = "all") -> int:
    """Return the number of trainable parameters: rank x (inputs + outputs) per layer (Hu et al. 2021, section 4.1)."""
    names = list(shape.linears) if target == "all" else [name.strip() for name in target.split(",")]
    embeddings = dict.fromkeys(("embed_tokens", "lm_head"), (shape.vocab, shape.hidden))
    sizes = {f".model.{name}": size for name, size in embeddings.items()}
    for layer in range(shape.layers):
        for name, size in shape.linears.items():
            part = "mlp" if name in ("gate_proj", "up_proj", "down_proj") else "self_attn"
            sizes[f".model.layers.{layer}.{part}.{name}"] = size
    # peft trains each layer whose name ends with a target. check_training_rows refuses a target that no layer has.
    return rank * sum(sum(size) for layer, size in sizes.items() if any(layer.endswith(f".{name}") for name in names))


def layer_activation_bytes(shape: Shape, length: int, rank: int, fused: bool = False) -> int:
    """Return the bytes per token that autograd keeps for one block, in a padded batch whose rows have `length` tokens.

    This applies the method of Korthikanti et al. 2022 (Reducing Activation Recomputation in Large Transformer Models,
    section 4). Frozen weights need no inputs, but each LoRA layer keeps its own bfloat16 copy of its input. `fused` is
    liger-kernel: its RMSNorm keeps bfloat16 instead of float32, and its SwiGLU two instead of three tensors.
    """
    query = shape.heads * shape.head_dim
    number = 2 if fused else 4
    norms = 2 * (number * shape.hidden + 4)
    if shape.qk_norm:
        norms += number * (query + shape.kv_heads * shape.head_dim) + 4 * (shape.heads + shape.kv_heads)
    inputs = 2 * sum(inputs for inputs, _ in shape.linears.values()) + len(shape.linears) * 2 * rank
    # Queries, keys, values (repeated for all heads if there is a padding mask) and output; log-sum-exp; the mask.
    attention = 4 * 2 * query + 4 * shape.heads + 2 * length
    mlp = (2 if fused else 3) * 2 * shape.intermediate
    return norms + inputs + attention + mlp


def logits_bytes(shape: Shape, tokens: int, fused: bool = False) -> float:
    """Return the peak bytes of the loss of a batch of `tokens` tokens.

    In the backward pass, cross entropy over full logits holds three float32 tensors: log-probabilities, their gradient,
    and the gradient of the logits. The fused loss (liger-kernel) processes the tokens in chunks and keeps only the
    gradient of the last hidden states.
    """
    if not fused:
        return tokens * shape.vocab * 3 * 4
    chunks = math.ceil(shape.vocab / shape.hidden)
    chunk = 1 << (math.ceil(tokens / chunks) - 1).bit_length()  # a power of two
    return chunk * shape.vocab * (2 + 4) + tokens * shape.hidden * 2


@dataclass(frozen=True)
class LoraTraining:
    """The arguments of LLaMA-Factory that the estimate needs, with LLaMA-Factory's defaults."""

    rank: int
    target: str
    batch: int
    cutoff: int
    checkpointing: bool
    fused: bool
    quantised: bool = False
    """Whether the base model is in 4 bits (QLoRA)."""
    double_quantisation: bool = True

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> LoraTraining:
        """Read the arguments. Raises ValueError if they are not for LoRA training of a model in 16 or 4 bits."""
        bits = arguments.get("quantization_bit")
        if arguments.get("finetuning_type", "lora") != "lora" or bits not in (None, 4):
            raise ValueError("only LoRA training of a model in 16 or 4 bits can be estimated")
        return cls(
            rank=arguments.get("lora_rank", 8),
            target=arguments.get("lora_target", "all"),
            batch=arguments.get("per_device_train_batch_size", 8),
            cutoff=arguments["cutoff_len"],
            checkpointing=not arguments.get("disable_gradient_checkpointing", False),
            fused=arguments.get("enable_liger_kernel", False),
            quantised=bits is not None,
            double_quantisation=arguments.get("double_quantization", True),
        )


def training_memory(shape: Shape, training: LoraTraining, longest: int) -> dict[str, float]:
    """Return purpose -> bytes on each GPU, for a batch in which every row has the length of the longest.

    The base model stays in bfloat16 or 4 bits. LLaMA-Factory keeps trainable parameters in float32, so each needs 4
    bytes for itself, 4 for its gradient and 8 for Adam's two moments (Rajbhandari et al. 2020, ZeRO, section 3.1).
    """
    tokens = training.batch * longest
    trainable = lora_parameters(shape, training.rank, training.target)
    layer = layer_activation_bytes(shape, longest, training.rank, training.fused) * tokens
    # With checkpointing, each block keeps its bfloat16 input, and one block at a time is recomputed.
    activations = shape.layers * 2 * shape.hidden * tokens + layer if training.checkpointing else shape.layers * layer
    logits = logits_bytes(shape, tokens, training.fused)
    weights = {"weights (bfloat16)": weight_bytes(shape, training)}
    if training.quantised:
        largest = max(inputs * outputs for inputs, outputs in shape.linears.values())
        weights = {
            "weights (4 bit, embeddings bfloat16)": weight_bytes(shape, training),
            "one dequantised layer (bfloat16)": 2 * largest,
        }
    return {
        **weights,
        "LoRA parameters (float32)": 4 * trainable,
        "gradients (float32)": 4 * trainable,
        "optimiser states (float32)": 8 * trainable,
        f"activations, {'with' if training.checkpointing else 'without'} checkpointing": activations,
        f"logits and loss, {'fused' if training.fused else 'not fused'}": logits,
        "allocator reserve": ALLOCATOR_SHARE * (activations + logits),
        "CUDA context": CONTEXT_BYTES,
    }


def prediction_memory(shape: Shape, max_model_len: int, max_num_seqs: int) -> dict[str, float]:
    """Return purpose -> bytes while vLLM predicts the most full-length sequences at once that the settings allow.

    vLLM reserves the memory that gpu_memory_utilization allows. This is the part that it can use; with less, it queues
    sequences. Keys and values: 2 tensors x layers x key-value heads x head dimension x 2 bytes per token (Kwon et al.
    2023).
    """
    a_token = 2 * shape.layers * shape.kv_heads * shape.head_dim * 2
    return {
        "weights (bfloat16)": 2 * parameters(shape),
        "KV cache": a_token * max_model_len * max_num_seqs,
        "CUDA context": CONTEXT_BYTES,
    }


def training_flops_per_token(shape: Shape, training: LoraTraining, length: float) -> float:
    """Return the floating-point operations for one token of training, in rows of `length` tokens.

    Each parameter needs 2 operations forward and 2 backward through the activations (Kaplan et al. 2020, section 2.1).
    Gradients of weights are computed only for LoRA. Checkpointing adds a forward pass. Attention needs 4 x length x
    width per block.
    """
    matrices = parameters(shape) - (0 if shape.tied else shape.vocab * shape.hidden)  # a lookup needs no operations
    forward = 2 * matrices + 4 * length * shape.heads * shape.head_dim * shape.layers
    lora = 6 * lora_parameters(shape, training.rank, training.target)
    backward = 2 * matrices + 8 * length * shape.heads * shape.head_dim * shape.layers
    return forward * (2 if training.checkpointing else 1) + backward + lora


def tokens_of(characters: int, shape: Shape) -> int:
    """Estimate the tokens of a row (Chinese with some JSON) without the model's tokenizer.

    Qwen's documentation says 1.5 to 1.8 characters per token. SmolLM2's vocabulary, made for English, writes most
    Chinese characters as two or three tokens: 1.0 character per token on CLUENER with the reference's prompt.
    """
    return math.ceil(characters / (1.5 if shape.vocab >= 100_000 else 1.0))


def training_seconds(
    shape: Shape,
    training: LoraTraining,
    length: float,
    rows: float,
    tflops: float,
    gpus: int = 1,
    hfu: float = REFERENCE_HFU,
) -> float:
    """Return the seconds of training on `rows` rows of `length` tokens, where each row counts once per epoch.

    `tflops` is the peak throughput of a GPU, and `hfu` the share of it that training reaches,
    with the operations that gradient checkpointing repeats.
    """
    flops = rows * length * training_flops_per_token(shape, training, length)
    return flops / (tflops * 1e12 * hfu * gpus)


def peak_tflops(gpu: str) -> float | None:
    """Return the half-precision TFLOPS of a GPU by the name that nvidia-smi prints; None if it is not in the table."""
    return next((tflops for name, tflops in PEAK_TFLOPS.items() if name.lower() in gpu.lower()), None)


def refusal(run: str, needed: float, available: float | None, fitting: Iterable[str]) -> str:
    """Return a message: why a run cannot start on this machine, what it needs, and which runs can start.

    `available` is the memory of the GPU in bytes, or None without a GPU.
    """
    here = "but this machine has none" if available is None else f"but the GPU here has {available / GB:.1f} GB"
    others = ", ".join(fitting)
    return (
        f"run {run} needs a GPU with {needed / GB:.1f} GB of memory, {here}. "
        + (f"Runs that fit here: {others}. " if others else "No run of the sheet fits here. ")
        + "See docs/gpu.md"
    )
