"""Write the manifest of a run and seed: its code, settings, files and engines, and the time and node of each job."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from entitune.cli import run
from entitune.evaluation.checkpoint_scores import SCORING, read_checkpoint_scores
from entitune.files import sha256
from entitune.job_records import JobRecord
from entitune.left_out import read_left_out
from entitune.provenance import code_version, engine_versions
from entitune.run_manifest import Checkpoint, GitVersion, RunManifest, Stage


def chosen_checkpoint(path: str) -> Checkpoint:
    """Return which checkpoint is the adapter, why, and the F1 of all checkpoints."""
    scores = read_checkpoint_scores(path)
    best = next(score for score in scores if score.chosen == "yes")
    return Checkpoint(
        step=best.step,
        why=f"the highest micro F1 ({SCORING}) on {best.sentences} held-out rows of the training split; of equal "
        "ones the earliest",
        f1={str(score.step): score.f1 for score in scores},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config", type=json.loads, required=True, help="JSON: the run with all entries of conf/ that it names"
    )
    parser.add_argument("--files", nargs="+", required=True, help="files whose checksums are recorded")
    parser.add_argument(
        "--environments",
        type=Path,
        nargs="*",
        default=[],
        help="folders of the engines' environments (a vote has none)",
    )
    parser.add_argument("--records", type=Path, nargs="*", default=[], help="JSON records of the run's own jobs")
    parser.add_argument(
        "--shared-records", type=Path, nargs="*", default=[], help="JSON records of jobs for several runs or seeds"
    )
    parser.add_argument("--shared-by", type=int, default=1, help="number of runs and seeds that share these jobs")
    parser.add_argument("--checkpoints", help="TSV of select_checkpoint (default: the adapter was not chosen)")
    parser.add_argument(
        "--summaries", type=Path, nargs="*", default=[], help="summaries of the steps that leave data out, JSON"
    )
    parser.add_argument("--output", required=True, help="the manifest, JSON")
    args = parser.parse_args()

    stages = {path.stem: Stage.of(JobRecord.read(path)) for path in args.records} | {
        path.stem: Stage.of(JobRecord.read(path), args.shared_by) for path in args.shared_records
    }
    locks = dict.fromkeys(stage.lock for stage in stages.values() if stage.lock)
    code = code_version()
    manifest = RunManifest(
        version=code.version,
        git=GitVersion(commit=code.commit, modified=code.modified),
        code_sha256=code.sha256,
        config=args.config,
        checkpoint=chosen_checkpoint(args.checkpoints) if args.checkpoints else None,
        left_out=read_left_out(args.summaries),
        files={path: sha256(path) for path in [*args.files, *locks]},
        engines={path.name: engine_versions(path) for path in [Path(sys.prefix), *args.environments]},
        stages=stages,
    )
    manifest.write(args.output)


if __name__ == "__main__":
    run(main)
