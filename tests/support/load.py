"""Ask a service over TLS as fast as it answers, until told to stop; say what became of every request.

Called with address, port, certificate, key and a row. Half of the callers keep their connection, as programs do; the
other half open one for each request, as people and scripts do.
"""

import http.client
import json
import signal
import ssl
import sys
import threading
import time
from collections import Counter

host, port, certificate, key, row = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
answered, failed, stop, lock = Counter(), [], threading.Event(), threading.Lock()
ids = []


def ask(keep: bool) -> None:
    connection = None
    while not stop.is_set():
        if connection is None or not keep:
            connection = http.client.HTTPSConnection(host, int(port), timeout=20, context=context)
        try:
            connection.request("POST", "/predict", f"[{row}]", {"X-API-Key": key, "Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
            fault = "" if response.status == 200 else f"{response.status} {text[:200]}"
            if response.will_close:
                connection = None
        except (OSError, http.client.HTTPException) as error:
            fault, connection = repr(error), None
        with lock:
            if fault:
                failed.append([round(time.time(), 2), keep, fault])
            else:
                (answer,) = json.loads(text)
                answered[answer["version"]] += 1
                ids.append(answer["id"])
        if fault:
            time.sleep(0.05)


signal.signal(signal.SIGTERM, lambda *_: stop.set())
callers = [threading.Thread(target=ask, args=[number % 2 == 0]) for number in range(8)]
for caller in callers:
    caller.start()
stop.wait()
for caller in callers:
    caller.join()
json.dump({"answered": answered, "failed": failed, "ids": ids}, sys.stdout)
