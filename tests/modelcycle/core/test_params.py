import pytest

from modelcycle.core.config import read_config
from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError
from modelcycle.core.params import Params
from modelcycle.core.paths import CONTRACT, PARAMS


def test_the_shipped_configuration_is_valid():
    assert read_config(Params, PARAMS)
    assert read_config(Contract, CONTRACT)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("test_share:", "test_share: 1.2 #", "prepare.test_share is 1.2; expected less than 1"),
        ("seed:", "seed: many #", "train.seed is 'many'; expected a valid integer"),
        ("seed:", "sede:", "train.seed is missing"),
        ("max_rejected:", "max_rejected: 0.5\n  spare:", "prepare.spare is not a known key"),
        ("estimator:", "estimator: [", "not valid YAML"),
    ],
)
def test_a_mistake_in_params_is_named_with_file_key_found_and_expected(tmp_path, old, new, complaint):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_config(Params, path)
    assert str(error.value).startswith(str(path))
    assert complaint in str(error.value)
