"""The scale of `.ci/archive --scale`: see there. Arguments: the command, the servers, a directory,
how many origins, and how many segments each."""

import gzip
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

import plyvel
from archive_server import BUCKET, Server

COMMAND, TOOLS, WORK = (pathlib.Path(argument) for argument in sys.argv[1:4])
ORIGINS, SEGMENTS = int(sys.argv[4]), int(sys.argv[5])
LOG = f"s3://{BUCKET}/scale/app.log"
# A segment an hour. The hour that is asked for begins in the middle of a segment, so it is in two.
# It is late, but not the last, or long ago.
START, HOUR = 1_700_000_000 // 3600 * 3600, 3600
LATE, EARLY = max(SEGMENTS - 3, 0), SEGMENTS // 3


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


def attributes(size, mode):
    now = int(time.time())
    return field(4, field(1, size) + field(2, now) + field(3, mode) + field(6, now))


def entry(body):
    """An object as SeaweedFS's filer has it, with its content."""
    return attributes(len(body), 0o660) + field(9, body)


def directory():
    return field(2, 1) + attributes(0, 1 << 31 | 0o771)


class Filer:
    """The database of SeaweedFS's filer, while it does not run: eight databases of its own. A
    directory is in one of them, and a key is a hash of it with the name of an entry."""

    def __init__(self, path):
        self.parts = [plyvel.DB(str(path / f"{part:02}")) for part in range(8)]

    def put(self, path, entries):
        """Puts entries into a directory, by name."""
        key = hashlib.md5(path.encode()).digest()
        with self.parts[key[-1] % 8].write_batch() as batch:
            for name, value in entries.items():
                batch.put(key + name.encode(), value)

    def close(self):
        for part in self.parts:
            # SeaweedFS's own library does not find all that is in a journal of this one.
            part.compact_range()
            part.close()


def write(filer):
    """Writes all objects down. That is faster than any request."""
    names = {segment(number): entry(gzip.compress(b"record %d\n" % number, 1)) for number in range(SEGMENTS)}
    names[".origin"] = entry(b"scale\n")
    root = f"/buckets/{BUCKET}"
    filer.put(root, {"scale": directory()})
    filer.put(f"{root}/scale", {"app.log": directory()})
    filer.put(f"{root}/scale/app.log", {origin(at): directory() for at in range(ORIGINS)})
    for at in range(ORIGINS):
        filer.put(f"{root}/scale/app.log/{origin(at)}", names)


def ask(server, *arguments):
    """Runs the command. Returns its lines, its requests and its seconds."""
    before, start = server.requests(), time.monotonic()
    command = [COMMAND, *arguments, LOG]
    done = subprocess.run(command, env={**os.environ, **server.environment}, capture_output=True)
    took, after = time.monotonic() - start, server.requests()
    if done.returncode:
        return done.stderr.decode().strip(), None, took
    return done.stdout.decode().splitlines(), {it: after[it] - before[it] for it in after}, took


def write_all(server):
    start = time.monotonic()
    server.kill()
    filer = Filer(server.dir / "filerldb2")
    write(filer)
    filer.close()
    server.start()
    server.wait()
    took = time.monotonic() - start
    print(f"{ORIGINS} origins with {SEGMENTS} segments each, written in {took:.0f} s", flush=True)


def half_past(hour):
    return text(START + hour * HOUR + HOUR // 2, "%Y-%m-%dT%H:%M:%SZ")


def an_hour(hour):
    return ["cat", "--since", half_past(hour), "--until", half_past(hour + 1)]


def ask_all(server):
    questions = {
        "cat, an hour": (an_hour(LATE), 2 * ORIGINS),
        "cat, an hour long ago": (an_hour(EARLY), 2 * ORIGINS),
        "cat, an hour of one origin": ([*an_hour(LATE), "--origin", origin(0)], 2),
        "ls, from that hour on": (["ls", "--since", half_past(LATE)], (SEGMENTS - LATE) * ORIGINS),
    }
    for name, (arguments, expected) in questions.items():
        found, requests, took = ask(server, *arguments)
        if requests is None:
            print(f"{name}: not possible: {found}", flush=True)
            continue
        print(f"{name}: {len(found)} lines, {json.dumps(requests)}, {took:.1f} s", flush=True)
        assert len(found) == expected, expected


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
