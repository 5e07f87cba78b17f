# One image that runs the whole workflow, with GPUs and without. From the repository's root:
#   docker build -t entitune .
#   docker run --rm --gpus all --ipc host -v entitune-results:/opt/entitune/results entitune
#   docker run --rm --entrypoint python entitune scripts/print_versions.py
# docs/gpu.md has the variants: no GPU, a folder of the host for the results, a package index of your own, Apptainer.

# CUDA 13 needs a driver from 580 on; CUDA=12.8.1 one from 525 on. The engines' environments follow its first number.
ARG CUDA=13.0.2
# Python is the distribution's: 3.11, 3.12 and 3.13 will do.
ARG BASE=nvidia/cuda:${CUDA}-runtime-ubuntu24.04

FROM ${BASE} AS build
ARG CUDA
# The engines' environments that are baked in; a step that needs another builds it when it runs.
ARG ENVIRONMENTS="train predict-cuda predict-cpu"
# A package index of your own: build arguments are variables of this stage, and this stage is not kept.
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libnuma1 python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/entitune
# What the environments are made from, before what changes more often.
COPY scripts/setup.sh scripts/
COPY envs envs
RUN scripts/setup.sh
COPY . .
# In one step: the environments share the files of PyTorch as hard links. The group may write what the owner may, so
# that the container runs under any user id (docker run --user "$(id -u):0").
RUN sed -i "s/^cuda: auto$/cuda: ${CUDA%%.*}/" conf/config.yaml \
    && for name in $ENVIRONMENTS; do targets="$targets .envs/$name/.built"; done \
    && if [ -n "$targets" ]; then .envs/workflow/bin/snakemake $targets --cores 1; fi \
    && rm -rf .snakemake logs && mkdir -p results && chmod -R g=u .

FROM ${BASE}
# Triton and vLLM compile kernels when they run: that takes a compiler and Python's headers. libnuma is vLLM's, on CPUs.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates g++ libnuma1 python3 python3-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --gid 0 --create-home entitune \
    && chmod g=u /home/entitune \
    && install --directory --owner 10001 --group 0 --mode 775 /opt/entitune
COPY --from=build --chown=10001:0 /opt/entitune /opt/entitune
USER 10001
WORKDIR /opt/entitune
# A user id that has no name gets one by USER: Snakemake and PyTorch ask for it.
ENV HOME=/home/entitune USER=entitune PATH=/opt/entitune/.envs/workflow/bin:$PATH
ENTRYPOINT ["snakemake"]
CMD ["results/metrics.tsv", "--cores", "all"]
