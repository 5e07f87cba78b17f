"""What several EntiTune scripts share: records, readers, prompts, grounding, scoring.

Nothing here imports an engine (torch, transformers, LLaMA-Factory, vLLM): every module runs in each of the
environments with the standard library, and those that need numpy or a repair library say so.
"""
