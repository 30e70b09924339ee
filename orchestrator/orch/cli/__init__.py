"""The command line: parse, call one verb, print. `main` is the only place that catches errors."""

from __future__ import annotations

import errno
import os
import sys

REPORT = "please report it with this text: rerun with --debug for the traceback"


def main() -> None:
    """Run the command in `sys.argv` and exit with its code."""
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1 or bool(os.environ.get("ORCH_DEBUG"))
    sys.exit(run(arguments, debug))


def run(arguments: list[str], debug: bool = False) -> int:
    """Run one command and return its exit code; every error becomes one line on stderr."""
    from orch.cli.app import app
    from orch.errors import InterruptedSweepError, OrchError
    from orch_db.errors import DatabaseError, NameTakenError, NotUniqueError

    try:
        code = int(app(arguments, prog_name="orch", standalone_mode=False) or 0)
        if code == 130:  # Typer's answer to Ctrl-C
            raise KeyboardInterrupt
        return code
    except InterruptedSweepError as error:  # as its user wished; one without words is quiet
        if error.message:
            complain(error.message, error.hint, "")
        return error.exit_code
    except OrchError as error:
        code, message, hint = error.exit_code, error.message, error.hint
    except DatabaseError as error:
        code = 2 if isinstance(error, NotUniqueError | NameTakenError) else 5
        message, hint = error.message, error.hint
    except SystemExit:  # Click's answer where nobody reads the output any more
        return 141
    except Exception as error:
        usage = usage_error(error)
        if usage is not None:
            return usage
        code, message, hint = of_system(error) or (
            1,
            f"this is a bug in orch: {type(error).__name__}: {error}",
            REPORT,
        )
    except KeyboardInterrupt:
        code, message, hint = 130, "interrupted; nothing was left half done", ""
    if debug:
        import traceback

        traceback.print_exc()
    complain(message, hint)
    return code


def of_system(error: Exception) -> tuple[int, str, str] | None:
    """Exit code, message and hint where the system refused what every command needs."""
    number = error.errno if isinstance(error, OSError) else None
    helps = {
        errno.EMFILE: "ulimit -n 4096, then the same again",
        errno.ENFILE: "close other programs, then the same again",
        errno.ENOSPC: "free some space, then the same again",
        errno.EDQUOT: "free some space, then the same again",
        errno.EIO: "see what the disk says: dmesg; then the same again",
        errno.EROFS: "orch doctor",
    }
    if number not in helps:
        return None
    where = f"{getattr(error, 'filename', None) or 'the system'}: "
    safe = "; what was recorded before is safe"
    return 5, f"{where}{os.strerror(number)}{safe}", helps[number]


def usage_error(error: Exception) -> int | None:
    """Show an error of the command line's own grammar; None for any other error."""
    show = getattr(error, "show", None)
    code = getattr(error, "exit_code", None)
    if type(error).__name__ == "NoArgsIsHelpError" and show is not None:
        show()
        return 2
    if show is None:
        return code if type(error).__name__ in ("Exit", "Abort") else None
    complain(_plainly(error.format_message()), _help_of(error))  # pyright: ignore[reportAttributeAccessIssue]
    return int(code or 2)


def _plainly(message: str) -> str:
    """What the library says of a number that is none, in words for people."""
    for kind, plain in (("integer", "a whole number"), ("number", "a number")):
        said = f"Input should be a valid {kind}, unable to parse string as "
        if said in message:
            return f"{message.partition(said)[0]}this is not {plain}"
    return message.replace("Input should be ", "it should be ")


def _help_of(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path} --help" if context is not None else "orch --help"


def complain(message: str, hint: str, what: str = "error: ") -> None:
    """Print an error, and what to do next, to stderr."""
    from orch.cli.output import clean

    print(f"{what}{clean(message, lines=True)}", file=sys.stderr)
    if hint:
        print(f"  try: {clean(hint)}", file=sys.stderr)
