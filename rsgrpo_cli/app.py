"""The command line: the Typer app, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import ast
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from rsgrpo_cli import __version__
from rsgrpo_cli.console import Output, close_stdout, open_streams, show, writing
from rsgrpo_cli.disk import hint_for
from rsgrpo_cli.errors import Interrupted, RsgrpoError, UsageError, first_line
from rsgrpo_cli.refusing import told
from rsgrpo_cli.wording import raised

START, STAGES, RUNS, REPORTS = "To start with", "Stages, in order", "Runs", "Results"
COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("train", RUNS, "rsgrpo train --model toy --beta 4 --steps 60"),
    ("sweep", RUNS, "rsgrpo sweep --name betas --set advantage.beta=0,2,4,8 --seeds 0-7 --steps 60"),
    ("ls", RUNS, "rsgrpo ls betas --sort pass@1"),
    ("rm", RUNS, "rsgrpo rm betas"),
    ("plan", RUNS, "rsgrpo plan --model Qwen/Qwen2.5-Math-1.5B --lora-rank 32 --dtype bfloat16 --memory 24"),
    ("fork", RUNS, "rsgrpo fork mine-beta8 --run mine --step 20 --beta 8"),
    ("export", RUNS, "rsgrpo export mine --merge --out mine-merged"),
    ("watch", RUNS, "rsgrpo watch mine"),
    ("status", RUNS, "rsgrpo status --run mine"),
    ("verify", RUNS, "rsgrpo verify mine"),
    ("diff", RUNS, "rsgrpo diff runs/grpo runs/rs_grpo"),
    ("du", RUNS, "rsgrpo du"),
    ("gc", RUNS, "rsgrpo gc mine --dry-run"),
    ("datasets", START, "rsgrpo datasets"),
    ("recipes", START, "rsgrpo recipes toy --copy mine.toml"),
    ("doctor", START, "rsgrpo doctor --offline"),
    ("demo", START, "rsgrpo demo --steps 30 --samples 64"),
    ("prepare", STAGES, "rsgrpo prepare --dataset problems.jsonl --answer-column solution --run mine"),
    ("rollout", STAGES, "rsgrpo rollout --run mine --group-size 16"),
    ("score", STAGES, "rsgrpo score --run mine --reward my_package.rewards:exact"),
    ("advantage", STAGES, "rsgrpo advantage --run mine --step 3 --beta 8 --tag beta8"),
    ("update", STAGES, "rsgrpo update --run mine --learning-rate 1e-6"),
    ("eval", STAGES, "rsgrpo eval --run mine --k 1,16,256 --num-samples 256"),
    ("show", REPORTS, "rsgrpo show --run mine --prompt toy-train-000017 --step 3"),
    ("compare", REPORTS, "rsgrpo compare runs/grpo runs/rs_grpo --k 1,32"),
    ("figure", REPORTS, "rsgrpo figure passk runs/betas --out passk.pdf"),
    ("report", REPORTS, "rsgrpo report base=mine@0 trained=mine --html report.html"),
    ("view", REPORTS, "rsgrpo view mine"),
    ("sql", REPORTS, 'rsgrpo sql mine "SELECT step, reward_mean, entropy FROM metrics ORDER BY step"'),
    ("bandit", REPORTS, "rsgrpo bandit --betas 0,2,4,8 --seeds 1,2,3 --figure bandit.png"),
)
"""Each command, which has a module of its name; the panel that lists it; the example that its help ends with."""
RESUMABLE = {"train", "sweep", "demo", *(name for name, panel, _ in COMMANDS if panel == STAGES)}
"""Commands that go on where they were stopped."""
_FUNCTIONS = {"eval": "evaluate"}
"""Commands whose function has another name."""


def load(name: str) -> Any:
    """The command `name` as Typer runs it; imports its module."""
    function = getattr(import_module(f"rsgrpo_cli.commands.{name}"), _FUNCTIONS.get(name, name))
    example = next(example for listed, _, example in COMMANDS if listed == name)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    alone.command(name, cls=Helping, epilog=f"Example: {example}")(function)
    return typer.main.get_command(alone)


def help_of(name: str) -> str:
    """The help text of the command `name`, read from its source without importing it."""
    tree = ast.parse((Path(__file__).parent / "commands" / f"{name}.py").read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return next(ast.get_docstring(node) or "" for node in functions if node.name == _FUNCTIONS.get(name, name))


def _print_help(command: Any, context: Any) -> None:
    from rsgrpo_cli.helping import help_text

    show(help_text(command, context))


def _is_list(option: Any) -> bool:
    """Whether an option's one value is a list."""
    from rsgrpo_cli.helping import ListOf

    return not option.multiple and isinstance(option.metavar, ListOf)


class Helping(TyperCommand):
    """A command whose help is whole at any width."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        _print_help(self, ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            UsageError: If it does not fit; or if a list is given twice: the last one alone would count, and the other
                be dropped in silence.
        """
        with told(ctx, args):
            _, _, given = self.make_parser(ctx).parse_args(list(args))
            twice = next((option for option in given if given.count(option) > 1 and _is_list(option)), None)
            if twice is not None and not ctx.resilient_parsing:  # Tab completes what is not finished yet
                flag = twice.opts[0]
                raise UsageError(f"{flag} is given twice", f"give it once, with commas: {flag} {twice.metavar}")
            return super().parse_args(ctx, args)


class OnDemand(TyperGroup):
    """Imports a command's module when the command is called; `rsgrpo --help` needs none of them."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        _print_help(self, ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands before the command; raises as that of `Helping`."""
        with told(ctx, args):
            return super().parse_args(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in that has the command's help."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.help = help_of(cmd_name)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that was called, loaded."""
        with told(ctx, args):
            name, _, rest = super().resolve_command(ctx, args)
        _require_one_process(str(name))
        return name, load(str(name)), rest


app = typer.Typer(
    name="rsgrpo",
    cls=OnDemand,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _require_one_process(command: str) -> None:
    """Make sure that torchrun does not run a command once per rank that knows nothing of the others.

    Raises:
        UsageError: If it would.
    """
    ranks = os.environ.get("WORLD_SIZE", "1") if "TORCHELASTIC_RUN_ID" in os.environ else "1"
    if ranks != "1" and command not in ("train", "update"):
        raise UsageError(
            f"torchrun runs {command} {ranks} times, and only train and update share their work among ranks",
            f"run it once: rsgrpo {command}",
        )


def _placeholder() -> None:
    """Has no options: `OnDemand` loads the command before they are parsed."""


for _name, _panel, _ in COMMANDS:
    app.command(_name, rich_help_panel=_panel)(_placeholder)


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
    _end_as_ctrl_c_does()
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
            out.error(_stopped())
        raise
    except BrokenPipeError:
        # The reader of our output has ended (`rsgrpo ... | head`); what we made is all right.
        close_stdout()
        sys.exit(1)
    except OSError as error:
        _debug(error)
        where = f" ({error.filename})" if error.filename else ""
        out.error(RsgrpoError(f"{error.strerror or error}{where}", hint_for(error.errno)))
        close_stdout()
        sys.exit(1)
    except Exception as error:
        _debug(error)
        hint = "this is a bug in rsgrpo; RSGRPO_DEBUG=1 shows where. What was finished is kept"
        out.error(RsgrpoError(raised(type(error).__name__, first_line(error, silent="")), hint))
        sys.exit(1)


def _stopped() -> Interrupted:
    """That a command was stopped; with how to resume, where there is something to resume."""
    called = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if called in RESUMABLE:
        return Interrupted("stopped at once; what was finished is kept", "run the same command again to resume")
    return Interrupted("stopped at once")


def _end_as_ctrl_c_does() -> None:
    """Have every signal that asks for an end end a command that does not listen for it, or not yet, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        if signal.getsignal(number) == signal.SIG_DFL:  # not under nohup
            signal.signal(number, signal.default_int_handler)


def _run() -> None:
    """The app. What it printed goes out here, where an error still has someone to tell it."""
    try:
        app(prog_name="rsgrpo")
    except SystemExit:
        with writing():
            sys.stdout.flush()
        raise


def _debug(error: BaseException) -> None:
    if os.environ.get("RSGRPO_DEBUG"):
        raise error
