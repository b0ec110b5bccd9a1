"""Writes through a balancer until SIGTERM, and remembers what was acknowledged: ha_load.py URL CERT KEY ACKED.

Each writer creates objects and counts one up. What got no answer is asked for again; whatever was acknowledged is a line
`NAME` or `COUNTER=NUMBER` in the file ACKED. The first line of the output says that all writers are at work."""

import http.client
import json
import signal
import ssl
import sys
import threading
from urllib.parse import urlsplit

url, certificate, key, acked_path = sys.argv[1:5]
WRITERS, PATH = 4, "/api/v1/namespaces/default/configmaps"
tls = ssl.create_default_context()
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
tls.load_cert_chain(certificate, key)
stop, begun, lock, acked = threading.Event(), threading.Semaphore(0), threading.Lock(), open(acked_path, "w")


def ask(connection, method, path, body=None):
    """Returns code and document; code 0 if there was no answer."""
    try:
        connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        connection.close()
        return 0, None


def certain(connection, method, path, body):
    """Asks until it is known whether it was done: returns how, or None if the load ends first."""
    while not stop.is_set():
        code, document = ask(connection, method, path, body)
        if code and code not in (429, 500, 502, 503, 504):
            return code, document
        stop.wait(0.05)
    return None


def acknowledge(line):
    """Notes what a server has promised to keep."""
    with lock:
        acked.write(line + "\n")
        acked.flush()


def write(writer):
    """Creates `load-W-N` for each N, and counts `counter-W` up from the version that it read or wrote last."""
    where = urlsplit(url)
    connection = http.client.HTTPSConnection(where.hostname, where.port, timeout=10, context=tls)
    counter, number, version = f"counter-{writer}", 0, None
    while not stop.is_set():
        name = f"load-{writer}-{number}"
        created = certain(connection, "POST", PATH, {"metadata": {"name": name}})
        # 409: created before, by the request whose answer got lost.
        if created and created[0] in (201, 409):
            acknowledge(name)
        body = {"metadata": {"name": counter, "resourceVersion": version}, "data": {"n": str(number)}}
        method, path = ("PUT", f"{PATH}/{counter}") if version else ("POST", PATH)
        counted = certain(connection, method, path, body)
        if counted and counted[0] == 409:
            counted = certain(connection, "GET", f"{PATH}/{counter}", None)
        if counted and counted[0] in (200, 201):
            version = counted[1]["metadata"]["resourceVersion"]
            if counted[1]["data"]["n"] == str(number):
                acknowledge(f"{counter}={number}")
        if number == 3:
            begun.release()
        number += 1


# The writers inherit it: the signal stays pending until it is waited for.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
writers = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
for thread in writers:
    thread.start()
for _ in writers:
    begun.acquire()
print("ok all writers are at work", flush=True)
signal.sigwait({signal.SIGTERM})
stop.set()
for thread in writers:
    thread.join()
acked.close()
