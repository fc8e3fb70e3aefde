"""`rsgrpo train`."""

from __future__ import annotations

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, exists, new_run
from rsgrpo_cli.console import Output


def train(
    run: options.RunOption = None,
    model: options.Model = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    lora_rank: options.LoraRank = None,
    lora_alpha: options.LoraAlpha = None,
    dataset: options.Dataset = None,
    data_dir: options.DataDir = None,
    prompt_column: options.PromptColumn = None,
    answer_column: options.AnswerColumn = None,
    limit: options.Limit = None,
    max_prompt_tokens: options.MaxPromptTokens = None,
    prompt_template: options.PromptTemplate = None,
    system_prompt: options.SystemPrompt = None,
    seed: options.Seed = None,
    engine: options.Engine = None,
    group_size: options.GroupSize = None,
    prompts_per_step: options.PromptsPerStep = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    max_tokens: options.MaxTokens = None,
    zero_variance: options.ZeroVariance = None,
    reward: options.Reward = None,
    workers: options.Workers = None,
    timeout: options.Timeout = None,
    estimator: options.Estimator = None,
    beta: options.Beta = None,
    advantage_scale: options.AdvantageScale = None,
    learning_rate: options.LearningRate = None,
    minibatches: options.Minibatches = None,
    epochs: options.Epochs = None,
    kl_coef: options.KlCoef = None,
    micro_batch_tokens: options.MicroBatchTokens = None,
    gradient_checkpointing: options.GradientCheckpointing = None,
    steps: options.Steps = None,
    eval_every: options.EvalEvery = None,
    checkpoint_every: options.CheckpointEvery = None,
    keep_checkpoints: options.KeepCheckpoints = None,
    benchmark: options.Benchmark = None,
    k: options.K = None,
    num_samples: options.NumSamples = None,
    config: options.ConfigOption = None,
    settings: options.SetOption = None,
    dry_run: options.DryRun = False,
    as_json: options.JsonOption = False,
) -> None:
    """Train: rollout, score, advantage and update, step by step.

    Starts a run, or goes on with the one that --run names. Ctrl-C stops after the part at work.
    """
    overrides = options.given(locals())
    if dry_run:
        from rsgrpo_cli.commands.plan import print_plan

        return print_plan(run, overrides, config, as_json=as_json)
    from rsgrpo_cli.commands.live import StepDisplay
    from rsgrpo_cli.pipeline import evaluation, training
    from rsgrpo_cli.run_dir import RunDir

    out = Output(as_json=as_json)
    if exists(run):
        target = RunDir.open(run)
        resolved = training.resume_config(target, overrides)
        out.info(f"going on with {target.path} from step {target.newest_version()}")
    else:
        target, resolved = new_run(run, overrides, config, out)
    with at_work(target, resolved, out) as session, StepDisplay(out, resolved.train.steps) as display:
        if resolved.train.eval_every:
            evaluation.check_names(evaluation.benchmarks_of(session), overrides.get("eval.num_samples_of", {}))
        training.train(session, display.show)
    done, asked = target.newest_version(), resolved.train.steps
    data = {"run": str(target.path), "steps": done, "policy": done, "last_step": display.last}
    more = f"; --steps {asked} were done before" if done > asked else ""
    out.result(data, lines=[f"{target.path}: {done} steps done, policy {done}{more}"])
