"""Prints the lines that a Python package shows of a log: `follow.py PACKAGE LOG`."""
import sys


def lines(package, log):
    if package == "multitail2":
        import multitail2
        return (line for _, line in multitail2.MultiTail(log, interval=0.1, skip_to_end=False))
    if package == "ponytail":
        import ponytail
        return ponytail.Follow(log).readlines()
    if package == "tailer":
        import tailer
        return tailer.follow(open(log))
    raise SystemExit(f"unknown package: {package}")


for line in lines(*sys.argv[1:]):
    print(line.rstrip("\n"), flush=True)
