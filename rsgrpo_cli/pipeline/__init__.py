"""Where stages meet files: the only place that reads inputs, runs a stage and writes what it made.

session    the run, and the expensive resources that are opened once: policy, engine, reward workers
rollout_folder, resampling   a step's part files: which there are, and which there have to be
steps      rollout, score, advantage, update of one training step
evaluation the same for a benchmark, with pass@k
metrics    the row that a step leaves in metrics.parquet
training   the loop over steps, and starting, resuming and forking a run
"""
