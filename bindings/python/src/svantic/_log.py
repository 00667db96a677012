"""Lines for the logger ``svantic``, which cost no dispatch whatever the application has hung on that logger."""

from __future__ import annotations

TRACE, DEBUG, INFO, WARNING, ERROR, CRITICAL = 5, 10, 20, 30, 40, 50
"""The levels of `logging`, which need not be imported for them."""


def say(level: int, text: str, cause: BaseException | None = None) -> None:
    """Logs a line, with the traceback of ``cause``. Any thread. Never raises."""
    import logging  # only where there is something to say: it is slow to import

    try:
        info = None if cause is None else (type(cause), cause, cause.__traceback__)
        logging.getLogger("svantic").log(level, "%s", text, exc_info=info)
    except Exception:  # of a filter or a handler of the application
        if logging.raiseExceptions:
            import traceback

            traceback.print_exc()
