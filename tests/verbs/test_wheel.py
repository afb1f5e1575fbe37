"""The wheel of a project holds both packages whole, and no package index takes it."""

from email import message_from_bytes
from zipfile import ZipFile


def test_a_wheel_holds_both_packages_whole_and_is_marked_as_private(bake):
    repository = bake()
    repository.run("uv", "build", "--wheel", "--quiet", "--out-dir", "dist")
    (path,) = (repository.path / "dist").glob("*.whl")
    with ZipFile(path) as wheel:
        (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        described = message_from_bytes(wheel.read(metadata))
        commands = wheel.read(metadata.replace("METADATA", "entry_points.txt")).decode()
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    source = repository.path / "src"
    assert packed == {file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()}
    assert {name.partition("/")[0] for name in packed} == {"flight_delays", "modelcycle"}
    assert {"report.html", "style.css", "model_card.md"} <= {name.rpartition("/")[2] for name in packed}
    assert described.get_all("Classifier") == ["Private :: Do Not Upload"]
    assert commands.split("\n")[:2] == ["[console_scripts]", "modelcycle = modelcycle.cli:main"]
