"""A finished run as a folder that stands alone: model card, prompt, and scripts that ask the model."""
