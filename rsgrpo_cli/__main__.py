"""The `rsgrpo` command, and `python -m rsgrpo_cli`."""

import sys


def main() -> None:
    """Run the command line; imported here, so that a Ctrl-C before it stands shows no traceback either."""
    try:
        from rsgrpo_cli.app import main as run
    except KeyboardInterrupt:
        print("stopped at once; nothing had begun", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current directory, which may be a stranger's run: nothing of ours is looked for there
    main()
