from modelcycle.update import format_rendering

LONG = "left_out = [1111111111, 2222222222, 3333333333, 4444444444, 5555555555, 6666666666]\n"
TEAM = '[tool.ruff]\nline-length = 40\nextend-exclude = ["src/modelcycle"]\n'


def test_a_rendering_is_formatted_as_the_team_s_code_without_what_the_team_leaves_out(tmp_path, monkeypatch):
    here, made = tmp_path / "here", tmp_path / "made"
    for package in ("team", "modelcycle"):
        (made / "src" / package).mkdir(parents=True)
        (made / "src" / package / "code.py").write_text(LONG, encoding="utf-8")
    here.mkdir()
    (here / "pyproject.toml").write_text(TEAM, encoding="utf-8")
    monkeypatch.chdir(here)
    format_rendering(made)
    assert (made / "src/team/code.py").read_text(encoding="utf-8").count("\n") > 1
    assert (made / "src/modelcycle/code.py").read_text(encoding="utf-8") == LONG
