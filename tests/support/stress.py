"""What a service has to stand: odd requests, and being stopped while many ask."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from random import Random

from support.service import ROW, Service

ODD = [
    None, True, -1, 0, 1e308, 10**400, -0.0, "", " ", "\x00", "ü" * 5000, "2013-03-01", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00", [], [[]], {}, {"carrier": "B6"}, float("nan"), float("inf"),
]  # fmt: skip


def odd_bodies(count: int, seed: str) -> Iterator[tuple[str, bytes]]:
    """Make paths and bodies: rows and feedback with odd values, names and shapes, and with bytes changed."""
    random = Random(seed)
    for _ in range(count):
        row = dict(ROW)
        for _ in range(random.randint(1, 3)):
            row[random.choice([*ROW, "humidity", "flight_id", "odd"])] = random.choice(ODD)
        feedback = {
            "id": random.choice(["0" * 32, "x", *ODD]),
            "outcome": random.choice(ODD),
            "comment": random.choice(ODD),
        }
        path = random.choice(["/predict", "/predict", "/predict", "/feedback"])
        body = json.dumps(feedback if path == "/feedback" else random.choice([[row], [row, ROW], row, ODD])).encode()
        if random.random() < 0.3:
            start = random.randrange(len(body))
            body = body[:start] + random.randbytes(random.randint(0, 4)) + body[start + random.randint(0, 4) :]
        yield path, body


def send_odd_bodies(service: Service, count: int, seed: str) -> Counter[int]:
    """Send odd requests over one connection; counts the statuses."""
    statuses: Counter[int] = Counter()
    client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    for path, body in odd_bodies(count, seed):
        client.request("POST", path, body, {"Content-Type": "application/json"})
        response = client.getresponse()
        response.read()
        statuses[response.status] += 1
    client.close()
    return statuses


def stop_under_load(service: Service, how: int) -> list[str]:
    """Ask from four threads, and stop the service in the midst; gives the ids of all answers that came."""
    answered: list[str] = []

    def ask_on() -> None:
        while service.process.poll() is None:
            try:
                answered.extend(answer["id"] for answer in service.ask("/predict", [ROW, ROW])[1])
            except (OSError, ValueError, http.client.HTTPException):
                return

    threads = [threading.Thread(target=ask_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    service.stop(how)
    for thread in threads:
        thread.join()
    return answered
