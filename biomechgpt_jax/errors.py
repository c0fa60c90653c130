"""The exceptions that the command line prints as one line."""


class InputError(Exception):
    """Bad input: the message is one line that says what, where, and how to fix it.

    The command line prints it without a traceback and exits with code 2.
    """


class RunError(RuntimeError):
    """A run cannot go on though nothing is wrong with what it was given; the message is one line, as above.

    The command line prints it without a traceback and exits with code 1: running again may help.
    """


class LoneError(RunError):
    """A RunError that only this process can know of: others may wait for it in a collective.

    The command line prints it and, of several processes, ends this one at once.
    """


class ClusterError(RunError):
    """A host is missing, hangs or cannot be reached; the message is one line that names it.

    The command line prints it without a traceback and exits with code 1: starting again may help.
    """
