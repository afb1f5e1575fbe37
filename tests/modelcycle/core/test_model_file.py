import subprocess
from collections import Counter

import pytest

from modelcycle.core.errors import InputError
from modelcycle.core.model_file import load_model, save_model


def test_a_file_that_is_no_model_or_would_run_code_is_refused(tmp_path):
    (tmp_path / "text.skops").write_text("no model")
    with pytest.raises(InputError, match="is no model that can be loaded"):
        load_model(tmp_path / "text.skops")
    with pytest.raises(InputError, match=r"not trusted: .*Popen"):
        save_model({"step": subprocess.Popen}, tmp_path / "evil.skops")
    assert not (tmp_path / "evil.skops").exists()


def test_a_type_of_the_teams_is_stored_and_loaded_where_it_is_trusted(tmp_path):
    path = tmp_path / "model.skops"
    with pytest.raises(InputError, match=r"not trusted: collections\.Counter\. .*trusted_types"):
        save_model(Counter("abba"), path)
    save_model(Counter("abba"), path, ["collections.Counter"])
    assert load_model(path, ["collections.Counter"]) == Counter("abba")
    with pytest.raises(InputError, match=r"is no model that can be loaded.*collections\.Counter"):
        load_model(path)
