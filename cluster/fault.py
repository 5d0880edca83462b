"""What is said of a bug: its kind and its place.

Never its text: that may hold a caller's number.
"""


def kind(error: BaseException) -> str:
    """The name of the exception."""
    return type(error).__name__


def place(error: BaseException) -> str:
    """Where it was raised, as `folder/file.py:line`; empty if it was not raised yet."""
    trace = error.__traceback__
    found = ""
    while trace is not None:
        file = "/".join(trace.tb_frame.f_code.co_filename.split("/")[-2:])
        found = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
