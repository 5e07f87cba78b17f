# One image that runs the whole workflow, with GPUs and without. From the repository's root:
#   docker build -t entitune .
#   docker run --rm --gpus all --ipc host -v entitune-results:/opt/entitune/results entitune
#   docker run --rm --entrypoint python entitune scripts/print_versions.py
# docs/gpu.md has variants: no GPU, results in a folder of the host, your own package index, Apptainer.

# CUDA 13 needs driver 580 or newer, CUDA=12.8.1 driver 525 or newer. Its first number selects the engines' environments.
ARG CUDA=13.0.2
# The distribution's Python must be 3.11, 3.12 or 3.13.
ARG BASE=nvidia/cuda:${CUDA}-runtime-ubuntu24.04

FROM ${BASE} AS build
ARG CUDA
# The engines' environments in the image; a step that needs another one builds it when it runs.
ARG ENVIRONMENTS="train predict-cuda predict-cpu"
# Your own package index: build arguments are variables of this stage only, which is not part of the image.
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libnuma1 python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/entitune
# Inputs of the environments come first; other files change more often.
COPY scripts/setup.sh scripts/
COPY envs envs
RUN scripts/setup.sh
COPY . .
# One step, because the environments share the files of PyTorch as hard links. The group gets the owner's write access,
# so the container runs with any user id (docker run --user "$(id -u):0").
RUN sed -i "s/^cuda: auto$/cuda: ${CUDA%%.*}/" conf/config.yaml \
    && for name in $ENVIRONMENTS; do targets="$targets .envs/$name/.built"; done \
    && if [ -n "$targets" ]; then .envs/workflow/bin/snakemake $targets --cores 1; fi \
    && rm -rf .snakemake logs && mkdir -p results && chmod -R g=u .

FROM ${BASE}
# Triton and vLLM compile kernels at run time, with a compiler and Python's headers. vLLM needs libnuma on CPUs.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates g++ libnuma1 python3 python3-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --gid 0 --create-home entitune \
    && chmod g=u /home/entitune \
    && install --directory --owner 10001 --group 0 --mode 775 /opt/entitune
COPY --from=build --chown=10001:0 /opt/entitune /opt/entitune
USER 10001
WORKDIR /opt/entitune
# Snakemake and PyTorch need a user name, which the user id of `docker run --user` may lack.
ENV HOME=/home/entitune USER=entitune PATH=/opt/entitune/.envs/workflow/bin:$PATH
ENTRYPOINT ["snakemake"]
CMD ["results/metrics.tsv", "--cores", "all"]
