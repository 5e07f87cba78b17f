"""The export of a finished run as a self-contained folder: model card, prompt, and scripts that ask the model."""
