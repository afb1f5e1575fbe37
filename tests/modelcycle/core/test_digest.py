from modelcycle.core.output import content_md5, md5


def test_files_bytes_and_texts_are_digested_as_by_md5sum(tmp_path):
    (tmp_path / "file").write_bytes("Köln".encode())
    assert md5(tmp_path / "file") == content_md5("Köln") == content_md5("Köln".encode())
    assert content_md5("") == "d41d8cd98f00b204e9800998ecf8427e"
