"""EntiTune: from a raw corpus to a table of entity scores.

    snakemake results/metrics.tsv --cores all
    snakemake results/metrics.tsv --cores all --config runs=demo,cluener-tiny

The files are included in the order of the stages. docs/contracts.md shows a sentence after each stage.
"""

from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"
include: "rules/envs.smk"
include: "rules/model.smk"
include: "rules/corpus.smk"
include: "rules/prompts.smk"
include: "rules/train.smk"
include: "rules/predict.smk"
include: "rules/select.smk"
include: "rules/baselines.smk"
include: "rules/score.smk"
include: "rules/provenance.smk"
include: "rules/analyse.smk"
include: "rules/report.smk"
include: "rules/serve.smk"
include: "rules/resources.smk"
include: "rules/base_model.smk"


rule all:
    """the table of all selected runs (the default target)"""
    default_target: True
    input:
        paths.METRICS,


onsuccess:
    if summary := endings.summary_of(Path(paths.SEEDS)):
        print(f"\n{summary}", file=sys.stderr)
    manifests = of_selected(lambda files: files.manifest)
    if left_out := endings.left_out_of(manifests):
        print(left_out, file=sys.stderr)
    if kept := endings.kept_of_other_cuda(manifests, cuda_generation(STUDY.cuda)):
        print(kept, file=sys.stderr)


# The last lines on the terminal, after Snakemake's own output: which step failed, its first error, its log.
onerror:
    for job in snakemake_internals.failed_jobs(workflow):
        log_file = Path(job.log[0]) if job.log else None
        atexit.register(print, endings.failure_of(job.rule.name, job.wildcards_dict, log_file), file=sys.stderr)
