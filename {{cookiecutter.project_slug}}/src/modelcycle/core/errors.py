"""What can go wrong and a person can correct: the command line turns each into a sentence and an exit status."""


class InputError(Exception):
    """Something that a person can correct; the text says what, where, found, expected and what to type."""


class Alert(Exception):
    """Something that a person should look at; the text gives the reasons. The exit status is 2."""


class Undecided(Exception):
    """A verdict that the data does not allow yet; the text says why and what helps. The exit status is 3."""


def first_line(error: Exception) -> str:
    """Give the first line of an error's message, or its type where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
