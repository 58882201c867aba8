#!/usr/bin/env python3
"""Draws docs/shell.svg: `logrotor ls` and a progress bar, as the real command shows them on a terminal.

    cargo build --release --features cli && docs/shell.py

Creates a log of 2 GiB, mostly compressed, in a temporary directory, with two processes that hold its
lease as workers do.
"""
import fcntl, html, os, pty, re, signal, subprocess, sys, tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(TOP, "target"))
LOGROTOR = os.path.join(TARGET, "release", "logrotor")
COLUMNS, ROWS = 140, 30
COLORS = {"1": "#ffffff", "2": "#7d8590", "31": "#ff7b72", "1;31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "36": "#79c0ff"}
PLAIN, GROUND = "#d1d7e0", "#151b23"


def on_terminal(*args):
    """Runs the command on its own terminal and returns its output."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", TZ="UTC")
        os.environ.pop("NO_COLOR", None)
        os.execv(LOGROTOR, ["logrotor", *args])
    size = ROWS.to_bytes(2, sys.byteorder) + COLUMNS.to_bytes(2, sys.byteorder) + bytes(4)
    fcntl.ioctl(master, 0x5414, size)  # TIOCSWINSZ
    shown = b""
    try:
        while block := os.read(master, 65536):
            shown += block
    except OSError:  # Linux reports EIO once the other side is closed
        pass
    os.waitpid(pid, 0)
    return shown.decode()


def writer(log, name):
    """Starts a process of this name that holds the log's lease as a worker does."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        file = os.open(log, os.O_WRONLY | os.O_APPEND)
        fcntl.flock(file, fcntl.LOCK_SH)
        with open("/proc/self/comm", "w") as comm:
            comm.write(name)
        os.write(go, b".")
        signal.pause()
    os.read(ready, 1)
    return pid


def make_log(log):
    """Creates five compressed backups, an uncompressed one and an active segment."""
    line = "2026-11-20T23:57:01.123456Z INFO request{id=%s path=/api/items/%d}: done status=200 bytes=%d\n"
    block = "".join(line % (os.urandom(6).hex(), i * 7919 % 9973, i * 31 % 4096) for i in range(100000))
    for part, blocks in enumerate([36, 40, 38, 34, 41, 12, 5]):
        with open(log, "a") as file:
            for _ in range(blocks):
                file.write(block)
        if part < 6:
            subprocess.run([LOGROTOR, "rotate", log], check=True, stdout=subprocess.DEVNULL)
        if part < 5:
            subprocess.run([LOGROTOR, "compress", "--gzip", log], check=True, stdout=subprocess.DEVNULL)


def spans(line):
    """Yields the pieces of a line, each with its color."""
    color = PLAIN
    for piece in re.split(r"(\x1b\[[0-9;]*[A-Za-z])", line):
        if match := re.fullmatch(r"\x1b\[([0-9;]*)m", piece):
            color = COLORS.get(match[1], PLAIN)
        elif piece and not piece.startswith("\x1b"):
            yield color, piece


def svg(lines):
    longest = max(sum(len(text) for _, text in spans(line)) for line in lines)
    width, height, step = longest * 7.85 + 40, len(lines) * 20 + 40, 20
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" font-size="13" '
        'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace">',
        f'<title>logrotor ls, and a progress bar</title><rect width="100%" height="100%" rx="8" fill="{GROUND}"/>',
    ]
    for row, line in enumerate(lines):
        pieces = "".join(f'<tspan fill="{color}">{html.escape(text)}</tspan>' for color, text in spans(line))
        out.append(f'<text x="20" y="{33 + row * step}" xml:space="preserve">{pieces}</text>')
    return "\n".join([*out, "</svg>", ""])


def main():
    with tempfile.TemporaryDirectory() as where:
        os.chdir(where)
        make_log("app.log")
        writers = [writer("app.log", name) for name in ("api", "worker")]
        try:
            ls = on_terminal("ls", "app.log").splitlines()
            verify = on_terminal("verify", "app.log")
        finally:
            for pid in writers:
                os.kill(pid, signal.SIGTERM)
                os.waitpid(pid, 0)
    frames = [frame for frame in re.split(r"[\r\n]", verify) if "%" in frame]
    assert frames, "verify took less than half a second: make the log larger"
    prompt = "\x1b[2m$\x1b[0m "
    lines = [prompt + "logrotor ls app.log", *ls, "", prompt + "logrotor verify app.log", frames[len(frames) // 2].rstrip()]
    with open(os.path.join(TOP, "docs", "shell.svg"), "w") as file:
        file.write(svg(lines))


main()
