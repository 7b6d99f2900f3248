from verger import errors


def test_exit_codes_are_those_of_the_contract() -> None:
    codes = {
        error.__name__: error.exit_code
        for error in errors.VergerError.__subclasses__()
        if error.__module__ == "verger.errors"
    }
    own = {"Away": 1, "RunFailed": 1, "LeftAlone": 130}  # a run that failed elsewhere has its own
    assert codes == {"SettingsError": 2, "ResidencyError": 3, "TooManyFailed": 4, "NothingToDo": 5} | own
    assert errors.VergerError.exit_code == 1
