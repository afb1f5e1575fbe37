import pytest

from modelcycle.core.errors import InputError
from modelcycle.delivery.image import find_builder, get_image_name, make_bill_of_materials, parse_sizes

LABELS = {"org.opencontainers.image.version": "3", "org.opencontainers.image.created": "2024-01-01T00:00:00+00:00"}


def test_a_part_has_its_name_its_version_and_an_address_with_both():
    bill = make_bill_of_materials(
        ["pkg:pypi/Typing_Extensions@4.1", "pkg:deb/debian/zlib1g@1:1.2+b1"], "host/x", LABELS
    )
    assert [(part["name"], part["version"], part["purl"]) for part in bill["components"]] == [
        ("typing-extensions", "4.1", "pkg:pypi/typing-extensions@4.1"),
        ("zlib1g", "1:1.2+b1", "pkg:deb/debian/zlib1g@1%3A1.2%2Bb1"),
    ]
    assert bill["metadata"]["component"] == {"type": "container", "name": "host/x", "version": "3"}


def test_the_size_is_told_by_its_largest_parts():
    packages = "".join(f"{1024 * size}\t/p/{name}\n" for size, name in [(9, "a"), (20, "b"), (5, "b.libs")])
    small = "".join(f"1024\t/p/c{number}\n" for number in range(5))
    assert parse_sizes(f"102400\t/\n{packages}{small}") == (
        100,
        "base 61, b 25, a 9, c0 1, c1 1, c2 1, c3 1, other packages 1",
    )


def test_a_name_or_a_builder_that_is_not_there_is_said_so(monkeypatch):
    monkeypatch.setenv("IMAGE", "host/x")
    assert [get_image_name("service"), get_image_name("pipeline")] == ["host/x", "host/x-pipeline"]
    monkeypatch.delenv("IMAGE")
    with pytest.raises(InputError, match="IMAGE is not set"):
        get_image_name("service")
    monkeypatch.setenv("BUILDER", "no-such-builder")
    with pytest.raises(InputError, match="made with no-such-builder, but there is none here"):
        find_builder()
