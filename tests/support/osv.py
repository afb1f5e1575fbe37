"""A stand-in for osv.dev on loopback, and its records and files."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

JINJA = ("PyPI", "jinja2", "2.4.1")
OPENSSL = ("Debian:12", "openssl", "3.0.11-1~deb12u1")


def record(identifier: str, package: tuple[str, str, str], fixed: str = "", **more: object) -> dict[str, object]:
    """Make a record that affects all versions of a package, or those before the one that is fixed."""
    events = [{"introduced": "0"}] + ([{"fixed": fixed}] if fixed else [])
    part = {"package": dict(zip(("ecosystem", "name"), package, strict=False))}
    part |= {"ranges": [{"type": "ECOSYSTEM", "events": events}]}
    return {"id": identifier, "modified": datetime.now(UTC).isoformat(), "affected": [part]} | more


def write_dump(folder: Path, kind: str, *records: dict[str, object]) -> None:
    """Write records as osv.dev offers them for download."""
    (folder / kind).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / kind / "all.zip", "w") as archive:
        for one in records:
            archive.writestr(f"{one['id']}.json", json.dumps(one))


class Osv(ThreadingHTTPServer):
    """The service. known: the records of each package; answer: what is said instead, whatever is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.known: dict[tuple[str, str, str], list[dict[str, object]]] = {}
        self.answer: bytes | None = None
        self.page = 1000  # records of a package in one answer
        self.asked: list[tuple[str, str, str]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """Answers a request."""

    server: Osv

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Give a record."""
        records = [one for records in self.server.known.values() for one in records]
        found = [one for one in records if self.path == f"/v1/vulns/{one['id']}"]
        self.reply(found[0] if found else {"code": 5, "message": "Bug not found."}, 200 if found else 404)

    def do_POST(self) -> None:
        """Give the ids of the records of each package, a page at a time."""
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        results = []
        for query in queries:
            package = (query["package"]["ecosystem"], query["package"]["name"], query["version"])
            self.server.asked.append(package)
            start = int(query.get("page_token", 0))
            ids = [{"id": one["id"]} for one in self.server.known.get(package, [])]
            result: dict[str, object] = {"vulns": ids[start : start + self.server.page]} if ids else {}
            if len(ids) > start + self.server.page:
                result["next_page_token"] = str(start + self.server.page)
            results.append(result)
        self.reply({"results": results} if self.path == "/v1/querybatch" and len(queries) <= 1000 else {}, 200)

    def reply(self, answer: object, status: int) -> None:
        """Send an answer, or what is said instead."""
        body = json.dumps(answer).encode() if self.server.answer is None else self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running() -> Iterator[Osv]:
    """Run the service while a block lasts."""
    with Osv() as service:
        Thread(target=service.serve_forever, daemon=True).start()
        yield service
        service.shutdown()
