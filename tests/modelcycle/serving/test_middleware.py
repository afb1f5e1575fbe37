import asyncio
import hashlib
import logging
import socket
import time

import pytest
from fastapi import HTTPException

from modelcycle.serving.middleware import AccessMiddleware, is_unread
from modelcycle.serving.settings import Settings
from modelcycle.serving.telemetry import Telemetry

KNOWN, OLD = (hashlib.sha256(key).hexdigest() for key in (b"open sesame", b"worn out"))
KEY = ("x-api-key", "open sesame")


def scope(path="/predict", *headers, **more):
    """Describe a request as servers do."""
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    return {"type": "http", "path": path, "headers": encoded} | more


def refuse(middleware, path, *headers):
    """Give the status with which a request is refused before anything is read of it, None where it is not."""
    response = middleware.check_access(scope(path, *headers))
    return response and response.status_code


def guard(app=None, **settings):
    chosen = Settings.model_validate({"keys": f"{KNOWN} {OLD}:2020-12-31"} | settings)
    return AccessMiddleware(app, chosen, Telemetry([]))


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (KEY, None),
        (("authorization", "Bearer open sesame"), None),
        (("x-api-key", "open"), 401),
        (("x-api-key", ""), 401),
        (("x-api-key", "worn out"), 401),
        (("authorization", "Bearer open"), 401),
        (("authorization", "Basic open sesame"), 401),
        (("accept", "*/*"), 401),
    ],
)
def test_a_key_that_is_known_and_valid_today_is_asked_for(header, status):
    assert refuse(guard(), "/predict", header) == status


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/docs", "/openapi.json", "/static-offline-docs/x.js"])
def test_what_shows_no_row_needs_no_key(path):
    assert refuse(guard(), path) is None


@pytest.mark.parametrize("path", ["/predict", "/feedback", "/metrics", "/model", "/predictions/0", "/healthy", ""])
def test_all_else_needs_a_key(path):
    assert refuse(guard(), path) == 401
    assert refuse(guard(), path, KEY) is None


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"keys": "", "open": True}, None),
        ({"keys": ""}, 401),
        ({"keys": "", "open": True, "host": "0.0.0.0"}, 401),
        ({"open": True}, 401),
    ],
    ids=["open", "not open", "open to others", "keys count more"],
)
def test_only_this_machine_may_do_without_keys_where_there_are_none(settings, status):
    assert refuse(guard(**settings), "/predict") == status


def test_the_caller_is_named_by_the_start_of_the_digest():
    known, local = scope("/predict", KEY), scope("/predict")
    guard().check_access(known)
    guard(keys="", open=True).check_access(local)
    assert (known["caller"], local["caller"]) == (f"key {KNOWN[:8]}", "local")


def test_each_caller_has_so_many_requests_a_minute(monkeypatch):
    other = hashlib.sha256(b"other").hexdigest()
    middleware, now = guard(keys=f"{KNOWN} {other}", requests_per_minute=2), [60.0 * 1000]
    monkeypatch.setattr("modelcycle.serving.middleware.time.time", lambda: now[0])
    assert [refuse(middleware, "/predict", KEY) for _ in range(4)] == [None, None, 429, 429]
    assert refuse(middleware, "/predict", ("x-api-key", "other")) is None
    assert refuse(middleware, "/health") is None
    now[0] += 59.9
    response = middleware.check_access(scope("/predict", KEY))
    assert (response.status_code, response.headers["retry-after"]) == (429, "60")
    now[0] += 0.1
    assert refuse(middleware, "/predict", KEY) is None


@pytest.mark.parametrize(("size", "status"), [("1000", None), ("1001", 413), ("0", None)])
def test_a_request_that_says_it_is_too_large_is_refused(size, status):
    assert refuse(guard(most_bytes=1000), "/predict", KEY, ("content-length", size)) == status


def test_a_file_of_keys_that_is_emptied_lets_nobody_in_and_one_that_is_gone_or_broken_changes_nothing(tmp_path, caplog):
    file = tmp_path / "keys"
    file.write_text(KNOWN)
    middleware = guard(keys="", keys_file=file, host="0.0.0.0")

    def ask():
        middleware.minute = 0  # a minute has gone by
        return refuse(middleware, "/predict", KEY)

    statuses = [ask()]
    file.write_text("# Zoë's key", encoding="utf-8")
    statuses.append(ask())
    file.write_bytes(b"\xff")
    statuses.append(ask())
    file.unlink()
    statuses.append(ask())
    file.write_text("")
    statuses.append(ask())
    assert statuses == [None, None, None, None, 401]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 3
    assert "holds #...; expected SHA-256 digests" in told[0]
    assert "it is not UTF-8" in told[1]
    assert "No such file" in told[2]


def test_a_new_key_is_known_within_a_minute(tmp_path):
    file = tmp_path / "keys"
    file.write_text(OLD)
    middleware = guard(keys="", keys_file=file)
    assert refuse(middleware, "/predict", KEY) == 401
    file.write_text(KNOWN)
    assert refuse(middleware, "/predict", KEY) == 401
    middleware.minute = 0  # a minute has gone by
    assert refuse(middleware, "/predict", KEY) is None


# Requests as they come in


def send(middleware, request, *messages):
    """Send a request's messages; gives the status and the headers of the response."""
    given, sent = iter(messages), []

    async def receive():
        return next(given)

    async def note(message):
        sent.append(message)

    asyncio.run(middleware(request, receive, note))
    start = sent[0]
    return start["status"], dict(start["headers"])


async def read_all(request, receive, send):
    """Be an app that reads the body, and answers with its size or with the status of what is raised."""
    size, more, status = 0, True, 200
    try:
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    except HTTPException as error:
        status = error.status_code
    await send({"type": "http.response.start", "status": status, "headers": [(b"size", str(size).encode())]})
    await send({"type": "http.response.body", "body": b""})


def part(body, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([part(b"x" * 500), part(b"x" * 500, False)], 200),
        ([part(b"x" * 500), part(b"x" * 501, False)], 413),
        ([part(b"x" * 500), {"type": "http.disconnect"}], 408),
    ],
)
def test_a_body_is_counted_as_it_comes_in(messages, status):
    assert send(guard(read_all, most_bytes=1000), scope("/predict", KEY), *messages)[0] == status


def test_what_comes_after_the_whole_body_is_no_early_end():
    async def read_on(request, receive, send):
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await read_all(request, receive, send)

    messages = [part(b"x", False), {"type": "http.disconnect"}, part(b"", False)]
    assert send(guard(read_on), scope("/predict", KEY), *messages)[0] == 200


@pytest.mark.parametrize(
    ("headers", "is_read", "expected"),
    [
        ([("content-length", "2")], False, True),
        ([("transfer-encoding", "chunked")], False, True),
        ([("content-length", "2")], True, False),
        ([("content-length", "0")], False, False),
        ([], False, False),
    ],
)
def test_a_body_is_unread_until_it_is_read_whole(headers, is_read, expected):
    assert is_unread(scope("/predict", *headers, **({"is_read": True} if is_read else {}))) == expected


def test_a_refusal_before_the_body_is_read_ends_the_connection():
    """A proxy that used it for the next request would send that as the body of the one that was refused."""
    body = ("content-length", "2")
    status, headers = send(guard(), scope("/predict", body))
    assert (status, headers[b"connection"]) == (401, b"close")
    assert b"connection" not in send(guard(), scope("/predict"))[1]
    assert b"connection" not in send(guard(read_all), scope("/predict", KEY, body), part(b"[]", False))[1]


def test_each_request_is_counted_and_logged_by_its_pattern(caplog):
    caplog.set_level(logging.INFO)

    async def answer(request, receive, send):
        request["route"] = type("Route", (), {"path": "/predictions/{prediction_id}"})
        await read_all(request, receive, send)

    middleware = guard(answer)
    send(middleware, scope("/predictions/7", KEY), part(b"", False))
    send(middleware, scope("/predictions/8"), part(b"", False))
    found, refused = [record.facts for record in caplog.records if record.getMessage() == "request"]
    assert 0 < found.pop("milliseconds") < 1000
    assert found == {"path": "/predictions/{prediction_id}", "status": 200, "caller": f"key {KNOWN[:8]}"}
    assert (refused["path"], refused["status"], refused["caller"]) == ("other", 401, "")
    count = middleware.telemetry.registry.get_sample_value
    assert count("requests_total", {"path": "/predictions/{prediction_id}", "status": "200"}) == 1
    assert count("requests_total", {"path": "other", "status": "401"}) == 1
    assert 0 < count("request_seconds_sum", {"path": "other"}) < 1


def test_a_request_that_fails_is_answered_and_counted_as_such(caplog):
    async def fail(request, receive, send):
        raise ZeroDivisionError

    middleware = guard(fail)
    assert send(middleware, scope("/predict", KEY))[0] == 500
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info[0] is ZeroDivisionError
    assert middleware.telemetry.registry.get_sample_value("requests_total", {"path": "other", "status": "500"}) == 1


def test_a_request_that_fails_after_the_start_of_its_response_is_left_to_the_server():
    async def fail(request, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send(guard(fail), scope("/predict", KEY))


def test_what_is_no_request_is_passed_on(caplog):
    caplog.set_level(logging.INFO)
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(guard(app)({"type": "lifespan"}, None, None))
    assert (seen, [record for record in caplog.records if hasattr(record, "facts")]) == (["lifespan"], [])


# Connections


@pytest.fixture(scope="module")
def service(serve_here, train_version, tmp_path_factory):
    """A service that waits half a second for a request to arrive."""
    version = train_version("an amount", max_iter=5)
    with serve_here(lambda: version, tmp_path_factory.mktemp("log"), most_seconds=0.5) as service:
        yield service


@pytest.mark.parametrize(
    ("start", "part"),
    [
        pytest.param(b"", b"", marks=pytest.mark.slow),
        pytest.param(b"POST /predict HTTP/1.1\r\nHost: here\r\n", b"X: y\r\n", marks=pytest.mark.slow),
        (b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: 100000\r\n\r\n", b" "),
    ],
    ids=["nothing", "a head", "a body"],
)
def test_a_request_that_does_not_come_to_its_end_is_cut_off(service, start, part):
    with socket.create_connection(("127.0.0.1", service.port), timeout=0.05) as client:
        client.sendall(start)
        for _ in range(600):
            try:
                assert client.recv(10_000) == b""
                break
            except TimeoutError:
                client.sendall(part)
            except ConnectionError:
                break
        else:
            raise AssertionError("the connection is still open")
    assert service.ask("/health")[0] == 200


@pytest.mark.slow
def test_a_connection_may_rest_between_requests_but_not_in_one(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as client:
        for _ in range(2):
            client.sendall(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")
            assert client.recv(10_000).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.8)  # longer than a request may take
        client.sendall(b"GET /health HTTP/1.1\r\n")
        assert client.recv(10_000) == b""
