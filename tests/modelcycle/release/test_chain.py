import hashlib
import io
import json
from types import SimpleNamespace

import pandas as pd
import pytest

from modelcycle.core.errors import InputError
from modelcycle.release.chain import Link, add_table_facts, check_file, compute_stored_md5
from modelcycle.tracking.git import git


@pytest.fixture(autouse=True)
def in_repository(tmp_path, monkeypatch):
    """Run each test in a repository that holds none of the files."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")


class Store:
    """A store in memory, as DVC's are: bytes by digest."""

    def __init__(self, *contents):
        self.files = {hashlib.md5(content).hexdigest(): content for content in contents}
        self.fs = SimpleNamespace(
            exists=lambda digest: digest in self.files,
            open=lambda digest, _: io.BytesIO(self.files[digest]),
            cat_file=lambda digest: self.files[digest],
        )

    def oid_to_path(self, digest):
        return digest


def away(_):
    raise ConnectionError("no route to host\nTraceback")


@pytest.fixture
def photos():
    """A store with a folder of two files, and the folder's digest."""
    store = Store(b"1\n", b"2\n")
    names = [{"md5": digest, "relpath": name} for digest, name in zip(store.files, "ab", strict=True)]
    listed = json.dumps(names).encode()
    digest = hashlib.md5(listed).hexdigest() + ".dir"
    store.files[digest] = listed
    return store, digest


def test_what_a_store_keeps_is_hashed_again():
    large = b"x" * (3 << 20)
    store = Store(large, b"")
    for digest in store.files:
        assert compute_stored_md5(store, digest) == digest
    assert compute_stored_md5(store, "0" * 32) is None
    store.files["0" * 32] = b"other"
    assert compute_stored_md5(store, "0" * 32) == hashlib.md5(b"other").hexdigest()


def test_each_file_of_a_folder_is_hashed(photos):
    store, digest = photos
    assert compute_stored_md5(store, digest) == digest
    second = hashlib.md5(b"2\n").hexdigest()
    store.files[second] = b"3\n"
    assert compute_stored_md5(store, digest) == f"{hashlib.md5(b'3' + bytes([10])).hexdigest()} (b)"
    del store.files[second]
    assert compute_stored_md5(store, digest) == "nothing (b)"


def test_the_list_of_a_folder_s_files_is_hashed_as_well(photos):
    store, digest = photos
    store.files[digest] = b"[]"
    assert compute_stored_md5(store, digest) == hashlib.md5(b"[]").hexdigest() + ".dir"


def test_a_store_out_of_reach_is_asked_once_and_named():
    here, there = Store(b"one", b"two"), Store()
    there.fs.exists = away
    with pytest.raises(InputError, match=r"^out of reach: no route to host$"):
        compute_stored_md5(there, "0" * 32)
    stores = {"cache": here, "remote": there}
    facts = []
    for digest in here.files:
        link = check_file("data/a", digest, None, stores, False)
        assert link.broken == []
        facts.append(link.facts.partition(", ")[2])
    assert facts == ["remote out of reach: no route to host, cache ok", "cache ok"]
    assert list(stores) == ["cache"]


@pytest.mark.parametrize(
    ("kept", "facts", "broken"),
    [
        ({"cache": b"one", "remote": b"one"}, "cache ok, remote ok", []),
        ({"cache": None, "remote": b"one"}, "cache has none, remote ok", []),
        ({"cache": b"one", "remote": b"two"}, "cache ok, remote differs", ["{} has md5 {two} in the remote"]),
        (
            {"cache": None, "remote": None},
            "cache has none, remote has none",
            ["{}, md5 {one}, is neither in the cache"],
        ),
        ({}, "", ["{}, md5 {one}, is neither in the cache"]),
    ],
)
def test_a_file_is_compared_with_what_each_store_keeps(kept, facts, broken):
    one, two = (hashlib.md5(content).hexdigest() for content in (b"one", b"two"))
    stores = {place: Store() for place in kept}
    for place, content in kept.items():
        if content:
            stores[place].files[one] = content
    link = check_file("data/a", one, None, stores, True)
    assert link.facts == ", ".join(filter(None, [f"md5 {one}", facts]))
    for fault, start in zip(link.broken, broken, strict=True):
        assert fault.startswith(start.format("data/a", one=one, two=two))


def test_a_file_is_compared_with_the_workspace_only_where_it_should_be_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"two")
    one, two = (hashlib.md5(content).hexdigest() for content in (b"one", b"two"))
    for in_workspace, broken in ((False, []), (True, [f"a has md5 {two} in the workspace, dvc.lock says {one}"])):
        assert check_file("a", one, None, {"cache": Store(b"one")}, in_workspace).broken == broken


TIMES = pd.to_datetime(["2024-03-02 10:00", "2024-03-01 09:30"])


@pytest.mark.parametrize(
    ("times", "time_format", "span"),
    [
        (TIMES, "", ", 2024-03-01 09:30 to 2024-03-02 10:00"),
        (TIMES, "%d.%m.%Y", ", 2024-03-01 09:30 to 2024-03-02 10:00"),
        (TIMES.strftime("%Y-%m-%d %H:%M:%S"), "", ", 2024-03-01 09:30 to 2024-03-02 10:00"),
        (TIMES.strftime("%d.%m.%Y %H:%M"), "%d.%m.%Y %H:%M", ", 2024-03-01 09:30 to 2024-03-02 10:00"),
        (["soon", "later"], "", ""),
        (["01.03.2024", "later"], "%d.%m.%Y", ", 2024-03-01 00:00 to 2024-03-01 00:00"),
    ],
)
def test_a_table_has_its_rows_and_its_span_of_time(times, time_format, span):
    content = io.BytesIO()
    pd.DataFrame({"at": times, "price": 1.0}).to_parquet(content)
    store = Store(content.getvalue())
    (digest,) = store.files
    for formats, expected in (({"at": time_format}, span), ({"ordered": ""}, "")):
        link = Link("data/raw.parquet")
        add_table_facts(link, digest, {"cache": Store(), "remote": store, "other": store}, formats)
        assert link.facts == f", 2 rows{expected}"


def test_what_is_no_table_has_no_facts():
    store = Store(b"no table")
    link = Link("data/raw.parquet")
    add_table_facts(link, next(iter(store.files)), {"cache": store}, {"at": ""})
    assert link.facts == ""


def test_faults_are_listed_from_the_top_down():
    link = Link("a", broken=["1"], parts=[Link("b", parts=[Link("c", broken=["2"])]), Link("d", broken=["3", "4"])])
    assert link.list_faults() == ["1", "2", "3", "4"]
