"""Where stages meet files: the only place that reads inputs, runs a stage and writes what it made.

A training step, from the outside in:

training    the loop over steps; preparation: the run before the first one
session     the run, and the expensive resources that are opened once: policy, engine, reward workers
steps       rollout, score, advantage and update of one training step
stage       running one stage: skip what is current, refuse what is stale, write what is new
parts, rollout_folder, resampling   the part files of a step: which there are, which there have to be
policy_files, keeping   the checkpoint that an update leaves, and which older ones stay
metrics, history   the row that a step leaves in metrics.parquet

Beside it: evaluation (a benchmark, with pass@k), forking, export, auditing, and

ranks/      an update by several processes
spread/     parts made by several workers
verify/     a run that is checked from end to end
"""
