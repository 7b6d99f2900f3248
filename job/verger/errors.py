"""Every error that Verger means, with its exit code.

VergerError           1  anything that has no code of its own
├── SettingsError     2  a setting, a location or an input that can't be right
├── ResidencyError    3  a location outside the allowed regions
├── TooManyFailed     4  more failed images than --max-failed allows
├── NothingToDo       5  nothing to work on, where that is an error
├── Away              1  who was asked does not answer: a watch goes on, all else ends
├── RunFailed         n  a run elsewhere that was watched: its own exit code
└── LeftAlone       130  Ctrl-C while a run elsewhere was watched: it goes on

A message is one line and says the value, the rule and the remedy.
"""

RUN_SAYS = "verger: "  # before the one line of a run's error


class VergerError(Exception):
    exit_code = 1


class SettingsError(VergerError):
    exit_code = 2


class ResidencyError(VergerError):
    exit_code = 3


class TooManyFailed(VergerError):
    exit_code = 4


class NothingToDo(VergerError):
    exit_code = 5


class Away(VergerError):
    pass


class RunFailed(VergerError):
    """The run's own line and exit code."""

    def __init__(self, line: str, exit_code: int) -> None:
        super().__init__(line)
        self.exit_code = exit_code


class LeftAlone(VergerError):
    exit_code = 130
