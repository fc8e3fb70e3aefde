"""Experiment trackers: what a run has on disk, sent to wandb, TensorBoard, Trackio, MLflow or CSV files as it grows.

A process of its own per tracker follows the run: it reads what is new in the run's tables and sends it. A tracker that
fails, hangs or prints therefore never touches the training, which waits for none of them.

accelerate's tracking is not used. It wraps one call each (`wandb.init`, `run.log`), and what matters here differs from
tracker to tracker: the same series after a restart, and no step twice. It also imports torch, which nothing else
here needs.
"""
