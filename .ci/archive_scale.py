"""The scale of `.ci/archive --scale`: see there. Arguments: the command, the servers, a directory,
how many origins, and how many segments each."""

import gzip
import http.client
import json
import os
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from archive_server import BUCKET, Server

COMMAND, TOOLS, WORK = (pathlib.Path(argument) for argument in sys.argv[1:4])
ORIGINS, SEGMENTS = int(sys.argv[4]), int(sys.argv[5])
WRITERS = 8
LOG = f"s3://{BUCKET}/scale/app.log"
# A segment an hour. The hour that is asked for is late, but not the last.
START, HOUR = 1_700_000_000 // 3600 * 3600, 3600
SINCE = START + max(SEGMENTS - 3, 0) * HOUR + HOUR // 2


def text(seconds, pattern):
    return time.strftime(pattern, time.gmtime(seconds))


def segment(number):
    """The name of a segment, by the time when it was finished."""
    return f"app.log.{text(START + (number + 1) * HOUR, '%Y-%m-%dT%H-%M-%S')}.000000Z.gz"


def origin(number):
    return f"web-{number}.{number:08x}"


def put(connection, path, body):
    """A busy server may time out."""
    for attempt in range(10):
        try:
            connection.request("PUT", path, body, {"Content-Type": "application/gzip"})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 201:
                return
        except (OSError, http.client.HTTPException):
            connection.close()
        time.sleep(attempt)
    raise RuntimeError(f"cannot write {path}")


def write(server, first):
    """Writes every `WRITERS`th origin through SeaweedFS's filer, which is faster than S3."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports[3])
    for at in range(first, ORIGINS, WRITERS):
        names = [(".origin", b"scale\n")]
        for number in range(SEGMENTS):
            line = f"{origin(at)} {number}\n".encode()
            names.append((segment(number), gzip.compress(line, 1)))
        for name, body in names:
            path = f"/buckets/{BUCKET}/scale/app.log/{origin(at)}/{name}"
            put(connection, path, body)


def ask(server, *arguments):
    """Runs the command. Returns its lines, its requests and its seconds."""
    before, start = server.requests(), time.monotonic()
    command = [COMMAND, *arguments, LOG, "--since", text(SINCE, "%Y-%m-%dT%H:%M:%SZ")]
    done = subprocess.run(command, env={**os.environ, **server.environment}, capture_output=True)
    took, after = time.monotonic() - start, server.requests()
    if done.returncode:
        return done.stderr.decode().strip(), None, took
    return done.stdout.decode().splitlines(), {it: after[it] - before[it] for it in after}, took


def write_all(server):
    start = time.monotonic()
    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(lambda at: write(server, at), range(WRITERS)))
    took = time.monotonic() - start
    print(f"{ORIGINS} origins with {SEGMENTS} segments each, written in {took:.0f} s", flush=True)


def ask_all(server):
    hour = ["--until", text(SINCE + HOUR, "%Y-%m-%dT%H:%M:%SZ")]
    questions = {
        "cat, an hour": ["cat", *hour],
        "cat, an hour of one origin": ["cat", *hour, "--origin", origin(0)],
        "ls, from that hour on": ["ls", "--json"],
    }
    for name, arguments in questions.items():
        found, requests, took = ask(server, *arguments)
        if requests is None:
            print(f"{name}: not possible: {found}", flush=True)
        else:
            print(f"{name}: {len(found)} lines, {json.dumps(requests)}, {took:.1f} s", flush=True)


def main():
    # Small objects are in the filer's own database.
    server = Server("weed", TOOLS, WORK, options=["-filer.saveToFilerLimit=1024"])
    try:
        write_all(server)
        ask_all(server)
    finally:
        server.kill()


if __name__ == "__main__":
    main()
