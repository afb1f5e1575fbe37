"""The md5 of files and texts, as DVC computes it."""

import hashlib
from pathlib import Path


def md5(path: Path) -> str:
    """Digest a file's content: 32 hexadecimal digits, the same as DVC's."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def content_md5(content: bytes | str) -> str:
    """Digest bytes or a text as DVC does."""
    return hashlib.md5(content if isinstance(content, bytes) else content.encode(), usedforsecurity=False).hexdigest()
