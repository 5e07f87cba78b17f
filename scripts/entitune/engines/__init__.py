"""How the engines train and predict: their arguments, checkpoints, GPUs and memory; and the CRF."""
