import pytest

from modelcycle.core.errors import InputError
from modelcycle.pipeline.cluster import REQUIRED_LIBRARIES, describe_environment, require_same_environment

HERE = {"Python": "3.11.7", "pandas": "3.0.1", "ruff": "0.14.2", "the code in src/flight_delays": "md5 1"}


def test_an_environment_holds_the_code_of_both_packages_and_the_libraries():
    here = describe_environment("flight_delays")
    assert {"the code in src/flight_delays", "the code in src/modelcycle", "Python", *REQUIRED_LIBRARIES} <= set(here)


def test_a_worker_with_the_same_environment_is_taken():
    require_same_environment(
        describe_environment("flight_delays"), describe_environment("flight_delays"), "tcp://there:1"
    )
    require_same_environment(HERE, {name: HERE[name] for name in HERE if name != "ruff"}, "tcp://there:1")


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ({"pandas": "3.0.0"}, "has 3.0.0 of pandas, this machine 3.0.1"),
        ({"pandas": None}, "has nothing of pandas"),
        ({"Python": "3.12.1"}, "has 3.12.1 of Python"),
        ({"the code in src/flight_delays": "md5 2"}, "has md5 2 of the code in src/flight_delays"),
        ({"ruff": "0.15.0"}, "has 0.15.0 of ruff"),
    ],
)
def test_a_worker_that_differs_is_named_with_what_to_type(there, sentence):
    changed = {name: value for name, value in (HERE | there).items() if value}
    with pytest.raises(InputError, match=f"The worker tcp://there:1 {sentence}.*uv sync --frozen"):
        require_same_environment(HERE, changed, "tcp://there:1")
