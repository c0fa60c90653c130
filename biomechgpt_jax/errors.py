"""The one exception that means "the user's input is wrong"."""


class InputError(Exception):
    """Bad input: the message is one line that says what, where, and how to mend it.

    The command line prints it without a traceback and exits with code 2.
    """
