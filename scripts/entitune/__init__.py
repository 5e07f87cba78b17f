"""Code that several EntiTune scripts share: records, readers, prompts, grounding, scoring.

No module imports an engine (torch, transformers, LLaMA-Factory, vLLM) when it is imported. Most need only the standard
library and run in every environment. A module that needs more lists it in its docstring.
"""
