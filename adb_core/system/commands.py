"""Typer functions as commands: mistakes end with one line and exit code 2, Ctrl-C with 130.

A module that is a command of its own (``python -m adb_core.toyworld.gallery``) needs

    def main(out: Annotated[Path, typer.Option(help="Where to.")] = Path("out/gallery")) -> None:
        \"\"\"Write contact sheets of the world.\"\"\"

    if __name__ == "__main__":
        run_command(main, "gallery")
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import typer

BAD_INPUT, INTERRUPTED = 2, 130  # exit codes; 130 is the shell's own for Ctrl-C


class InputError(ValueError):
    """An argument that cannot be used; one line that names it and says what to do."""


def is_expected(error: BaseException) -> bool:
    """Whether an error is about the input or the machine, not a bug: ours, and the system's."""
    # A module that runs as a command is called __main__, and so are the errors that it defines.
    return isinstance(error, OSError) or type(error).__module__.startswith(("adb_core", "__main__"))


def one_line(error: BaseException) -> str:
    """An error's message on one line; the system's own errors get the file and the cure."""
    if (
        isinstance(error, OSError)
        and error.errno is not None
        and type(error).__module__ == "builtins"
    ):
        where = error.filename or "a file"
        cure = (
            "choose another folder, or change its permissions"
            if isinstance(error, PermissionError)
            else "check the path and the disk"
        )
        return f"{where}: {error.strerror}: {cure}"
    return " ".join(str(error).split())


def polite(command: Callable, name: str = "adb") -> Callable:
    """Turn expected errors into one line on stderr and an exit code; bugs keep their traceback."""

    @functools.wraps(command)
    def run(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            typer.echo(f"{name}: stopped", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if not is_expected(error):
                raise
            typer.echo(f"{name}: {one_line(error)}", err=True)
            raise typer.Exit(BAD_INPUT) from error

    return run


def typer_app(name: str, **more: Any) -> typer.Typer:
    """A typer application in the project's style: plain help, and bugs with Python's traceback."""
    return typer.Typer(
        name=name,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        **more,
    )


def command_app(command: Callable, name: str) -> typer.Typer:
    """A typer application of this one function, for :func:`run_command` and for tests."""
    app = typer_app(name)
    app.command()(polite(command, name))
    return app


def run_command(command: Callable, name: str, arguments: Sequence[str] | None = None) -> None:
    """Parse the command line (or ``arguments``), call the function, and exit with its code."""
    words = None if arguments is None else list(arguments)
    command_app(command, name)(args=words, prog_name=name)
