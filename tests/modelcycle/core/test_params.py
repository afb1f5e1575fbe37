import re

import pytest

from modelcycle.core.config import read_config
from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError
from modelcycle.core.paths import CONTRACT, PARAMS
from modelcycle.versions.params import Params


def test_the_shipped_configuration_is_valid():
    assert read_config(Params, PARAMS)
    assert read_config(Contract, CONTRACT)


def test_parameters_that_are_older_than_a_section_have_its_defaults_as_the_shipped_ones_do(tmp_path):
    path, text = tmp_path / "params.yaml", PARAMS.read_text(encoding="utf-8")
    path.write_text(text[: text.index("monitor:")], encoding="utf-8")
    assert read_config(Params, path).monitor == read_config(Params, PARAMS).monitor
    path.write_text(text[: text.index("  process: false")], encoding="utf-8")
    older = read_config(Params, path)
    assert not older.gate.process
    assert older.train.search is None


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("test_share:", "test_share: 1.2 #", "prepare.test_share is 1.2; expected less than 1"),
        ("{by: key}", "{by: month}", "prepare.holdout.by is 'month'; expected 'key', 'group' or 'time'"),
        ("{by: key}", "{by: time, last: soon}", "prepare.holdout.last: a span of time is expected, such as 28d or 12h"),
        ("{by: key}", "{by: time, gap: -2d}", "prepare.holdout.gap: a span of time is expected, such as 28d or 12h"),
        (
            "{after: 0d}",
            "{after: 14}",
            "prepare.labels.after: a span of time is expected, such as 28d or 12h; found 14",
        ),
        ("seed:", "seed: many #", "train.seed is 'many'; expected a valid integer"),
        ("seed:", "sede:", "train.seed is missing"),
        ("max_rejected:", "max_rejected: 0.5\n  spare:", "prepare.spare is not a known key"),
        ("estimator:", "estimator: [", "not valid YAML"),
        ("csv: {}", "csv: {chunksize: 5}", "ingest.csv: chunksize gives no table; expected options about how"),
        ("csv: {}", "csv: {iterator: true}", "ingest.csv: iterator gives no table"),
        (
            "until:",
            "until: 2013 #",
            'ingest.until: a time is expected, in quotes, such as "2024-01-31"; found the number',
        ),
        ("until:", "until: soon #", "ingest.until.datetime is 'soon'; expected a valid datetime or date"),
        ("source:", 'source: "" #', "ingest.source is ''; expected"),
        ("search:", "search: {trials: 0, parameters: {a: [1]}} #", "train.search.trials is 0"),
        ("search:", "search: {trials: 1, folds: 1, parameters: {a: [1]}} #", "train.search.folds is 1; expected"),
        ("search:", "search: {trials: 1, parameters: {}} #", "train.search.parameters is {}; expected"),
        ("bootstrap:", "bootstrap: 19 #", "evaluate.bootstrap is 19; expected greater than or equal to 20"),
        ("confidence: 0.95", "confidence: 0.5", "gate.duel.confidence is 0.5; expected greater than 0.5"),
        ("expect: same", "expect: equal", "gate.behaviour.0.expect is 'equal'; expected 'same', 'different', 'higher'"),
        ("labels: 100", "labels: 19", "monitor.labels is 19; expected greater than or equal to 20"),
        ("sample:", "sample: 999 #", "monitor.sample is 999; expected greater than or equal to 1000"),
    ],
)
def test_a_mistake_in_params_is_named_with_file_key_found_and_expected(tmp_path, old, new, complaint):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_config(Params, path)
    assert str(error.value).startswith(str(path))
    assert complaint in str(error.value)


def test_every_parameter_is_told_what_it_does():
    """In params.yaml, behind it or above it; what stands in braces is told with its owner."""
    section, above, told = "", "", []
    for line in PARAMS.read_text(encoding="utf-8").splitlines():
        indent, name = re.match(r"(  )?(\w+):|", line).groups()
        if name and not indent:
            section = name
        elif name and ("#" in line or above.lstrip().startswith("#")):
            told.append(f"{section}.{name}")
        above = line
    fields = Params.model_fields.items()
    assert sorted(told) == sorted(f"{part}.{name}" for part, field in fields for name in field.annotation.model_fields)
