"""The command line: the Typer app, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import os
import sys

import typer

from rsgrpo_cli import __version__
from rsgrpo_cli.commands.advantage import advantage
from rsgrpo_cli.commands.bandit import bandit
from rsgrpo_cli.commands.compare import compare
from rsgrpo_cli.commands.datasets import datasets
from rsgrpo_cli.commands.eval import evaluate
from rsgrpo_cli.commands.export import export
from rsgrpo_cli.commands.fork import fork
from rsgrpo_cli.commands.plan import plan
from rsgrpo_cli.commands.prepare import prepare
from rsgrpo_cli.commands.report import report
from rsgrpo_cli.commands.rollout import rollout
from rsgrpo_cli.commands.score import score
from rsgrpo_cli.commands.show import show
from rsgrpo_cli.commands.status import status
from rsgrpo_cli.commands.train import train
from rsgrpo_cli.commands.update import update
from rsgrpo_cli.console import Output, close_stdout, open_streams, writing
from rsgrpo_cli.errors import Interrupted, RsgrpoError

STAGES, RUNS, REPORTS = "Stages, in order", "Runs", "Results"
COMMANDS = (
    ("train", train, RUNS, "rsgrpo train --model toy --beta 4 --steps 60"),
    ("plan", plan, RUNS, "rsgrpo plan --model Qwen/Qwen2.5-Math-1.5B --lora-rank 32 --dtype bfloat16 --memory 24"),
    ("fork", fork, RUNS, "rsgrpo fork mine-beta8 --run mine --step 20 --beta 8"),
    ("export", export, RUNS, "rsgrpo export mine --merge --out mine-merged"),
    ("status", status, RUNS, "rsgrpo status --run mine"),
    ("datasets", datasets, RUNS, "rsgrpo datasets"),
    ("prepare", prepare, STAGES, "rsgrpo prepare --dataset problems.jsonl --answer-column solution --run mine"),
    ("rollout", rollout, STAGES, "rsgrpo rollout --run mine --group-size 16"),
    ("score", score, STAGES, "rsgrpo score --run mine --reward my_package.rewards:exact"),
    ("advantage", advantage, STAGES, "rsgrpo advantage --run mine --step 3 --beta 8 --tag beta8"),
    ("update", update, STAGES, "rsgrpo update --run mine --learning-rate 1e-6"),
    ("eval", evaluate, STAGES, "rsgrpo eval --run mine --k 1,16,256 --num-samples 256"),
    ("show", show, REPORTS, "rsgrpo show --run mine --prompt toy-train-000017 --step 3"),
    ("compare", compare, REPORTS, "rsgrpo compare runs/grpo runs/rs_grpo --k 1,32"),
    ("report", report, REPORTS, "rsgrpo report base=mine@0 trained=mine --figure passk.svg"),
    ("bandit", bandit, REPORTS, "rsgrpo bandit --betas 0,2,4,8 --seeds 1,2,3 --figure bandit.png"),
)

app = typer.Typer(
    name="rsgrpo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _function, _panel, _example in COMMANDS:
    app.command(_name, epilog=f"Example: {_example}", rich_help_panel=_panel)(_function)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rsgrpo {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Fine-tune a language model with Risk-Sensitive GRPO and see what that does to pass@k.

    Each stage reads and writes Parquet in a run directory and can be run alone; train chains them.
    """


def main() -> None:
    """Run the command line. The only error boundary: one line that says what is wrong, one that says what to do."""
    open_streams()
    out = Output(as_json="--json" in sys.argv)
    try:
        _run()
    except RsgrpoError as error:
        _debug(error)
        out.error(error)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        # Typer makes this of a Ctrl-C that no stage was listening for, and says nothing.
        if stop.code == Interrupted.exit_code:
            out.error(Interrupted("stopped at once; what was finished is kept", "run the same command again to go on"))
        raise
    except BrokenPipeError:
        # The reader of our output has gone (`rsgrpo ... | head`); nothing is wrong with what we made.
        close_stdout()
        sys.exit(1)
    except OSError as error:
        _debug(error)
        where = f" ({error.filename})" if error.filename else ""
        out.error(RsgrpoError(f"{error.strerror or error}{where}", "check the path, its permissions and the disk"))
        close_stdout()
        sys.exit(1)
    except Exception as error:
        _debug(error)
        first = str(error).splitlines()[0] if str(error) else ""
        hint = "this is a bug in rsgrpo; RSGRPO_DEBUG=1 shows where. What was finished is kept"
        out.error(RsgrpoError(f"{type(error).__name__}: {first}", hint))
        sys.exit(1)


def _run() -> None:
    """The app. What it printed goes out here, where an error still has someone to tell it."""
    try:
        app()
    except SystemExit:
        with writing():
            sys.stdout.flush()
        raise


def _debug(error: BaseException) -> None:
    if os.environ.get("RSGRPO_DEBUG"):
        raise error
