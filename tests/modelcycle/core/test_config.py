from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelcycle.core.config import edit_params, make_yaml, read_config
from modelcycle.core.errors import InputError
from modelcycle.core.params import read_params


class Shop(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    rows: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check_name(self) -> "Shop":
        if self.name == "nameless":
            raise ValueError("a shop has a name")
        return self


class Town(BaseModel):
    shops: list[Shop]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"name: a\nrows: 0", "shop.yaml: rows is 0; expected greater than or equal to 1."),
        (b"rows: 0", "shop.yaml: name is missing. (1 more below it.)"),
        (b"name: a\nrow: 1", "shop.yaml: row is not a known key; check its spelling and its indentation."),
        (b"name: nameless", "shop.yaml: a shop has a name."),
        (b"", "shop.yaml: the file is None; expected a valid dictionary or instance of Shop."),
        (b"name: [", "shop.yaml is not valid YAML: while parsing a flow node expected the node content"),
        (b"name: 2024-02-31", "shop.yaml is not valid YAML: day is out of range for month"),
        (b"name: \xff", "shop.yaml is not valid YAML: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_a_mistake_is_named_with_file_key_found_and_expected(tmp_path, monkeypatch, content, complaint):
    monkeypatch.chdir(tmp_path)
    Path("shop.yaml").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_config(Shop, Path("shop.yaml"))
    assert str(error.value).startswith(complaint)


def test_what_is_wrong_further_down_is_named_with_the_way_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("town.yaml").write_text("shops: [{name: a}, {name: nameless}]")
    with pytest.raises(InputError, match=r"^town\.yaml: shops\.1: a shop has a name\.$"):
        read_config(Town, Path("town.yaml"))
    with pytest.raises(InputError) as error:
        read_config(Town, Path("nowhere.yaml"))
    assert str(error.value) == f"nowhere.yaml is not in {tmp_path}; run this in the repository's top folder."


def test_no_is_a_word(tmp_path):
    (tmp_path / "shop.yaml").write_text("name: no\n")
    assert read_config(Shop, tmp_path / "shop.yaml").name == "no"


def test_an_edit_leaves_comments_and_layout_of_the_parameters(baked, tmp_path, monkeypatch):
    copy = baked.copy_to(tmp_path)
    monkeypatch.chdir(copy.path)
    before = copy.read("params.yaml")
    with edit_params() as params:
        params["ingest"].update({"csv": {"sep": ";"}, "until": None})
        params["gate"]["bound"] = None
    after = copy.read("params.yaml")
    changed = [new for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert [line.split(" #")[0].strip() for line in changed] == ["csv: {sep: ;}", "until: null", "bound: null"]
    assert all(" # " in line for line in changed)
    assert read_params().ingest.csv == {"sep": ";"}


@pytest.mark.parametrize("text", ["? a", "no", "a: b", "\x85", "line\u2028end", "ü" * 200, "", " a "])
def test_every_text_is_read_back_as_it_was_written(tmp_path, text):
    path = tmp_path / "text.yaml"
    with path.open("w", encoding="utf-8") as stream:
        make_yaml().dump({text or "empty": [text, None]}, stream)
    assert make_yaml().load(path.read_text(encoding="utf-8")) == {text or "empty": [text, None]}
