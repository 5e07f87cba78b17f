"""The texts of an exported run: the model card, and scripts that ask the model."""
