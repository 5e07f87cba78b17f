#!/bin/sh
# Set up the workflow's environment in .envs/workflow: Snakemake and everything that needs no engine. Safe to run again.
# The workflow builds the engines' environments when a step first needs them.
set -eu
cd "$(dirname "$0")/.."

python=
for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null &&
        "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "error: Python 3.11, 3.12 or 3.13 is needed; 'python3 --version' says: $(python3 --version 2>&1)" >&2
    exit 1
fi

# vLLM's CPU build needs libnuma and does not include it. Debian's package can be unpacked without root.
if ! "$python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null && [ ! -e .envs/lib/libnuma.so.1 ]; then
    mkdir -p .envs/lib/package
    if ! (cd .envs/lib/package && apt-get download libnuma1 && dpkg -x ./*.deb . &&
        cp "$(find . -name 'libnuma.so.1*' -type f)" ../libnuma.so.1) >/dev/null 2>&1; then
        echo "error: the library libnuma.so.1, which vLLM needs on a CPU, is missing; install it with" >&2
        echo "       apt install libnuma1 (Debian, Ubuntu) or dnf install numactl-libs (Fedora, RHEL)" >&2
        exit 1
    fi
    rm -rf .envs/lib/package
fi

if cmp -s envs/workflow.txt .envs/workflow/.built; then
    exit 0
fi
cat >&2 <<'TEXT'
EntiTune sets up its environment in .envs/workflow: 0.2 GB of download, about a minute.
The demo then builds two more on first need, .envs/train and .envs/predict-cpu: 3.4 GB of download
(PyTorch brings CUDA's libraries along), 12 GB of disk, 2 to 10 minutes; after that it runs for about 3 minutes.
TEXT
if ! "$python" -m venv --clear .envs/workflow >/dev/null 2>&1; then
    echo "error: '$python -m venv' does not work here; on Debian and Ubuntu: apt install python3-venv" >&2
    exit 1
fi
# pip installs only uv, which installs the rest much faster and shares the files of PyTorch between the environments.
.envs/workflow/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/uv.txt
VIRTUAL_ENV=.envs/workflow .envs/workflow/bin/uv pip sync --quiet --require-hashes --compile-bytecode envs/workflow.txt
cp envs/workflow.txt .envs/workflow/.built
