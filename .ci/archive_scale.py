"""The scale of `.ci/archive --scale`: see there. Arguments: the command, the servers, a directory,
how many origins, and how many segments each."""

import gzip
import json
import os
import pathlib
import struct
import subprocess
import sys
import time

from archive_server import BUCKET, Server

COMMAND, TOOLS, WORK = (pathlib.Path(argument) for argument in sys.argv[1:4])
ORIGINS, SEGMENTS = int(sys.argv[4]), int(sys.argv[5])
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


def varint(number):
    text = bytearray()
    while number > 127:
        text.append(number & 127 | 128)
        number >>= 7
    return bytes([*text, number])


def field(tag, value):
    """A field of a message of protocol buffers: a number, or bytes."""
    if isinstance(value, int):
        return varint(tag << 3) + varint(value)
    return varint(tag << 3 | 2) + varint(len(value)) + value


def entry(name, body):
    """An object as SeaweedFS's filer has it, with its content, without its directory."""
    now = int(time.time())
    attributes = field(1, len(body)) + field(2, now) + field(3, 0o660) + field(6, now)
    return field(2, field(1, name.encode()) + field(4, attributes) + field(9, body))


def write(path):
    """Writes down all objects, to be loaded by SeaweedFS. That is faster than any request."""
    names = {segment(number): gzip.compress(b"record %d\n" % number, 1) for number in range(SEGMENTS)}
    entries = [entry(".origin", b"scale\n"), *(entry(*it) for it in names.items())]
    with open(path, "wb") as file:
        for at in range(ORIGINS):
            directory = field(1, f"/buckets/{BUCKET}/scale/app.log/{origin(at)}".encode())
            for each in entries:
                file.write(struct.pack(">I", len(directory) + len(each)) + directory + each)


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
    start, path = time.monotonic(), WORK / "objects.meta"
    write(path)
    command = [TOOLS / "python/bin/weed", "shell", f"-master=127.0.0.1:{server.ports[1]}"]
    command.append(f"-filer=127.0.0.1:{server.ports[3]}")
    load = f"fs.meta.load -v=false -concurrency=16 {path}\n"
    subprocess.run(command, input=load.encode(), check=True, stdout=subprocess.DEVNULL)
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
