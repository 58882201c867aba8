#!/usr/bin/env python3
"""Prints a log, oldest record first, and checks each compressed backup against its birth tag.

Uses the standard library only; Zstandard needs Python 3.14. docs/formats.md describes the formats."""
import datetime, os, re, struct, sys, zlib

TIME = r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z)"
GZIP = b"\x1f\x8b\x08\x04\0\0\0\0%c\xff\x2c\0LR\x28\0"  # %c: a hint that depends on the level
ZSTD = b"\x50\x2a\x4d\x18\x2a\0\0\0LR"

def name_of(micros):
    time = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)
    return time.strftime("%Y-%m-%dT%H-%M-%S.%fZ")

def backups(log):
    """The backups of a log, oldest first: path, time in the name, suffix, time of change."""
    folder, name = os.path.split(os.path.abspath(log))
    stem, dot, end = name.rpartition(".")
    if not stem or re.fullmatch(r"[1-9]\d*|gz|zst|", end, re.A):  # These are no extensions.
        stem, dot, end = name, "", ""
    pattern = rf"{re.escape(name)}\.([1-9]\d*|{TIME})|{re.escape(stem)}\.{TIME}{re.escape(dot + end)}"
    pattern = re.compile(rf"(?:{pattern})(\.gz|\.zst)?", re.A)
    found = {}
    active = os.stat(log) if os.path.exists(log) else None
    for file in sorted(os.listdir(folder)):  # "x" comes before "x.gz"
        match = pattern.fullmatch(file)
        path = os.path.join(folder, file)
        if match and os.path.isfile(path) and not os.path.islink(path):
            if active and os.path.samestat(os.stat(path), active):
                continue  # A rotation that was left half done has given it a second name.
            number, time, infix, suffix = match.groups()
            time = time or infix
            key = (time, bool(infix)) if time else -int(number)
            changed = os.stat(path).st_mtime_ns // 1000
            # Of a backup that is there twice, the compressed one counts if it is complete.
            if key not in found or found[key][3] == changed:
                found[key] = (path, time, suffix, changed)
    times = [found[key] for key in sorted(key for key in found if isinstance(key, tuple))]
    numbers = [found[key] for key in sorted(key for key in found if isinstance(key, int))]
    # The kind with the newest backup comes last.
    numbers_last = times and numbers and name_of(numbers[-1][3]) > times[-1][1]
    return times + numbers if numbers_last else numbers + times

def check(data, suffix, time):
    """Compares a backup with its tag, if it has one of format 2."""
    start, at = (GZIP % data[8:9], 0) if suffix == ".gz" else (ZSTD, len(data) - 50)
    tag = data[at:at + len(start) + 40] if at >= 0 else b""
    if not suffix or len(tag) < len(start) + 40: return
    created, rotated, length, size, crc, own = struct.unpack("<qqQQII", tag[len(start):])
    right = tag.startswith(start), zlib.crc32(start + tag[len(start):-4]) == own
    body = data[56:56 + size] if suffix == ".gz" else data[:-50][-size:]
    if any(right) and not all(right) or all(right) and (zlib.crc32(body), len(body)) != (crc, size):
        raise ValueError("it is not as its birth tag says")
    if all(right) and rotated != -1 and time and time != name_of(rotated):
        raise ValueError(f"it is the backup of {name_of(rotated)}, {length} bytes")

def records(data, suffix):
    if suffix == ".zst":
        from compression import zstd  # Python 3.14
        return zstd.decompress(data)
    text = b"" if suffix else data
    while suffix and data.strip(b"\0"):  # One member after the other, then padding.
        member = zlib.decompressobj(31)
        text, data = text + member.decompress(data), member.unused_data
        if not member.eof:
            raise ValueError("cut off")
    return text

status = 0
for path, time, suffix, _ in backups(sys.argv[1]) + [(sys.argv[1], None, None, 0)]:
    try:
        data = open(path, "rb").read()
        check(data, suffix, time)
        sys.stdout.buffer.write(records(data, suffix))
    except (OSError, ValueError, zlib.error, ImportError) as error:
        status = print(f"{path}: {error}", file=sys.stderr) or 1
sys.exit(status)
