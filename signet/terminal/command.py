"""Runs a command for a person: each error is one line and an exit status, never a traceback."""

import inspect
import sys
from collections.abc import Callable

import typer

from signet.errors import SignetError
from signet.terminal.characters import prepare_streams
from signet.terminal.output import discard_output, say_error

FAILED = 1
# The conventional exit status of a command that Ctrl-C ended.
INTERRUPTED = 130


def run_command(command: Callable[[], object]) -> int:
    """Run a command, and return its exit status: what it returns if that is a number, else 0.

    An unusable command line has exit status 2, any other error 1.
    """
    prepare_streams()
    status = FAILED
    try:
        returned = command()
        status = returned if isinstance(returned, int) else 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except SignetError as error:
        say_error(f"error: {error}")
    except typer.TyperException as error:
        status = _say_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        say_error("interrupted")
        status = INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has what it wants
        discard_output(sys.stdout)
        status = FAILED
    except OSError as error:
        discard_output(sys.stdout)
        say_error(f"error: {error.filename or 'standard output'}: {error.strerror or error}")
        status = FAILED
    return status


def join_help_lines(app: typer.Typer) -> None:
    """Let the terminal break the lines of the help texts of an application, instead of the source.

    A docstring has a line break after 120 characters, which typer keeps. A paragraph with an indented line, such as an
    example or a list, stays as it is.
    """
    for registered in app.registered_commands:
        text = registered.help or (registered.callback.__doc__ if registered.callback else None)
        if text:
            paragraphs = inspect.cleandoc(text).split("\n\n")
            registered.help = "\n\n".join(
                paragraph if "\n " in f"\n{paragraph}" else paragraph.replace("\n", " ") for paragraph in paragraphs
            )
    for group in app.registered_groups:
        if group.typer_instance is not None:
            join_help_lines(group.typer_instance)


def _say_usage(error: typer.TyperException) -> int:
    """Say what is wrong with the command line, and how to get help."""
    if type(error).__name__ != "NoArgsIsHelpError":  # whose help is printed already
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "signet"
        say_error(f"error: {error.format_message().rstrip('.')}. See `{path} --help`.")
    return error.exit_code
