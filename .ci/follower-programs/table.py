"""Has programs follow a log while `logrotor` rotates it, and prints what each has shown. Called by `.ci/followers`.

Several programs follow one log at the same time. Workers are processes of `logrotor write`. Each line has the number of
its worker and its own, so that lost, doubled and disordered lines can be counted.
"""
import collections
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

LOGROTOR, KEPT = os.environ["LOGROTOR"], Path(os.environ["KEPT"])
HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs/neighbors.md"
ROOT = KEPT / "root"  # Debian's packages
RATE = 300  # lines a second, of all workers
LINE = 100  # bytes
LIBRARIES = [ROOT / "usr/lib/x86_64-linux-gnu", ROOT / "lib/x86_64-linux-gnu", ROOT / "usr/lib/syslog-ng"]
DEBIAN = {
    "LD_LIBRARY_PATH": ":".join(map(str, LIBRARIES)),
    "PERL5LIB": f"{ROOT}/usr/share/perl5:{ROOT}/usr/lib/x86_64-linux-gnu/perl5/5.36",
    "RUBYLIB": f"{ROOT}/usr/lib/ruby/vendor_ruby:{ROOT}/usr/lib/ruby/3.1.0:{ROOT}/usr/lib/x86_64-linux-gnu/ruby/3.1.0",
    "PYTHONPATH": f"{ROOT}/usr/lib/python3/dist-packages",
    "TERM": "xterm",
}


class Run:
    """One follower at one log: its files, its process, and the lines that it has shown."""

    def __init__(self, follower, log):
        self.follower, self.log = follower, log
        self.folder = Path(tempfile.mkdtemp(prefix=re.sub(r"\W+", "-", follower.name) + "-", dir=log.parent.parent))
        self.out, self.messages = self.folder / "out", self.folder / "messages"
        self.out.touch()
        command = follower.command(self)
        with open(self.folder / "stdout", "wb") as out, open(self.messages, "wb") as messages:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=messages, start_new_session=True,
                cwd=self.folder, env={**os.environ, **(DEBIAN if follower.debian else {})})

    def write(self, name, text):
        file = self.folder / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(text)
        return file

    def size(self):
        return self.out.stat().st_size + (self.folder / "stdout").stat().st_size

    def kill(self):
        """Ends the follower, and the processes that it started."""
        for sign in signal.SIGTERM, signal.SIGKILL:
            try:
                os.killpg(self.process.pid, sign)
                self.process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass

    def end(self):
        """The lines in the order in which they were shown."""
        shown = self.follower.shown(self)
        self.kill()
        return shown if shown is not None else ids(self.out) or ids(self.folder / "stdout")


def ids(file):
    return [(int(worker), int(line)) for worker, line in re.findall(rb"w(\d) (\d{6})", file.read_bytes())]


class Follower:
    def __init__(self, name, needs, command, debian=True, shown=lambda run: None, numbers=False, version=None):
        self.name, self.needs, self.command, self.debian = name, needs, command, debian
        self.shown, self.numbers, self.version = shown, numbers, version

    def is_there(self):
        return bool(self.needs) and Path(self.needs).exists()


def on_path(program):
    return shutil.which(program) or ""


def each_second(run, *command):
    """As from cron, though more often."""
    return ["sh", "-c", 'while :; do "$@"; sleep 1; done', "sh", *map(str, command)]


def block(heading, run):
    """A configuration of docs/neighbors.md, with the paths of this run."""
    found = re.search(rf"^### {re.escape(heading)}\n.*?^```\w*\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    if not found:
        sys.exit(f"no configuration for {heading} in {PAGE}")
    return found[1].replace("/var/log/demo", str(run.log.parent))


def rsyslog(run, source):
    configuration = run.write("conf", f"""
global(workDirectory="{run.folder}")
{source}
template(name="raw" type="string" string="%msg%\\n")
action(type="omfile" file="{run.out}" template="raw" flushOnTXEnd="on")
""")
    modules = ROOT / "usr/lib/x86_64-linux-gnu/rsyslog"
    return [ROOT / "usr/sbin/rsyslogd", "-n", "-M", modules, "-f", configuration, "-i", run.folder / "pid"]


def imfile(run, mode, name):
    return rsyslog(run, f"""module(load="imfile" {mode})
input(type="imfile" file="{run.log.parent}/{name}" tag="demo")""")


def syslog_ng(run, source):
    configuration = run.write("conf", f"""@version: 3.38
options {{ stats-freq(0); }};
{source}
destination d {{ file("{run.out}" template("$MESSAGE\\n")); }};
log {{ source(s_demo); destination(d); }};
""")
    return [ROOT / "usr/sbin/syslog-ng", "-F", "--no-caps", "-f", configuration, "-R", run.folder / "persist",
            "-p", run.folder / "pid", "-c", run.folder / "ctl", "--module-path", ROOT / "usr/lib/syslog-ng/3.38"]


def fail2ban(run, backend):
    etc = run.folder / "etc"
    shutil.copytree(ROOT / "etc/fail2ban", etc)
    jail, rules = block("fail2ban", run).split("# filter.d/demo.conf\n")
    run.write("etc/jail.d/defaults-debian.conf", "")
    run.write("etc/fail2ban.local", "[Definition]\ndbfile = None\n")
    run.write("etc/jail.local", jail.replace("backend = auto", f"backend = {backend}")
              + "action =\nmaxretry = 1000000\n")
    run.write("etc/filter.d/demo.conf", rules)
    return [sys.executable, ROOT / "usr/bin/fail2ban-server", "-f", "-c", etc, "-s", run.folder / "socket",
            "-p", run.folder / "pid", "--logtarget", run.out, "--loglevel", "INFO"]


def addresses(run):
    found = re.findall(rb"Found 10\.(\d+)\.(\d+)\.(\d+)", run.out.read_bytes())
    return [(int(worker), 256 * int(high) + int(low)) for worker, high, low in found]


def mtail(run):
    run.write("rules/lines.mtail", "counter lines by id\n/(w\\d \\d{6})/ {\n  lines[$1]++\n}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        run.port = probe.getsockname()[1]
    return [ROOT / "usr/bin/mtail", "--progs", run.folder / "rules", "--logs", run.log, "--address", "127.0.0.1",
            "--port", str(run.port), "--logtostderr"]


def metrics(run):
    with urllib.request.urlopen(f"http://127.0.0.1:{run.port}/metrics", timeout=10) as page:
        found = re.findall(rb'lines\{.*?w(\d) (\d{6}).*?\} (\d+)', page.read())
    return [(int(worker), int(line)) for worker, line, count in found for _ in range(int(count))]


def logtail2(run, plugin=None):
    script = (ROOT / "usr/sbin/logtail2").read_text()
    rules = run.folder / "detectrotate"
    shutil.copytree(ROOT / "usr/share/logtail/detectrotate", rules)
    if plugin:
        (rules / "05-logrotor.dtr").write_text(plugin)
    changed = run.write("logtail2", script.replace("/usr/share/logtail/detectrotate", str(rules)))
    return each_second(run, "perl", changed, "-f", run.log, "-o", run.folder / "offset")


def swatchdog(run):
    conf = run.write("conf", "watchfor /./\n\techo\n")
    return ["perl", ROOT / "usr/bin/swatchdog", f"--config-file={conf}", f"--tail-file={run.log}",
            f"--script-dir={run.folder}", "--tail-args=-n +1 -F"]


def sec(run):
    rule = run.write("conf", f"type=Single\nptype=RegExp\npattern=(.+)\ndesc=line\naction=write {run.out} $1\n")
    return ["perl", ROOT / "usr/bin/sec", f"--conf={rule}", f"--input={run.log}", "--notail=0", "--reopen-timeout=1"]


def perl(run, code):
    return ["perl", "-e", f"$| = 1; {code}", run.log]


FILE_TAIL = 'use File::Tail; my $f = File::Tail->new(name => $ARGV[0], interval => 0.2, maxinterval => 1, resetafter => 1, tail => -1); ' \
            'print while defined($_ = $f->read)'
POE = 'use POE qw(Wheel::FollowTail); POE::Session->create(inline_states => { _start => sub { $_[HEAP]{t} = ' \
      'POE::Wheel::FollowTail->new(Filename => $ARGV[0], Seek => 0, PollInterval => 0.2, InputEvent => "line") }, ' \
      'line => sub { print "$_[ARG0]\\n" } }); POE::Kernel->run'
RUBY = '$stdout.sync = true; require "file/tail"; File::Tail::Logfile.open(ARGV[0], interval: 0.2, ' \
       'max_interval: 1, suspicious_interval: 1) { |log| log.tail { |line| puts line } }'


def python(package):
    interpreter = KEPT / "python/bin/python"
    found = list((KEPT / "python").glob(f"lib/*/site-packages/{package}-*"))
    needs = found[0] if found else ""
    return needs, lambda run: [interpreter, HERE / "follow.py", package, run.log]


def npm(package):
    return KEPT / "npm/node_modules" / package, lambda run: ["node", HERE / "follow.cjs", package, run.log]


def rust(crate):
    program = KEPT / "rust/debug/followers"
    return program, lambda run: [program, crate, run.log]


def pygtail(run, *more):
    return each_second(run, KEPT / "python/bin/pygtail", "-o", run.folder / "offset", *more, run.log)


def debian(path):
    return ROOT / path


def since_files(run, pattern):
    command = f'while :; do {ROOT}/usr/bin/since -lxq -s {run.folder}/state {run.log.parent}/{pattern}; sleep 1; done'
    return ["sh", "-c", command]


FOLLOWERS = [
    Follower("logrotor tail -F", LOGROTOR, lambda run: [LOGROTOR, "tail", "-n", "9999999", "-F", run.log], debian=False),
    Follower("GNU tail -F", on_path("tail"), lambda run: ["tail", "-n", "+1", "-F", run.log], debian=False),
    Follower("GNU tail -F, polling", on_path("tail"),
             lambda run: ["tail", "---disable-inotify", "-n", "+1", "-F", run.log], debian=False),
    Follower("busybox tail -F", on_path("busybox"), lambda run: ["busybox", "tail", "-n", "+1", "-F", run.log], debian=False),
    Follower("toybox tail -F", debian("bin/toybox"), lambda run: [ROOT / "bin/toybox", "tail", "-n", "+1", "-F", run.log]),
    Follower("uutils tail -F", KEPT / "rust/debug/uutail",
             lambda run: [KEPT / "rust/debug/uutail", "-n", "+1", "-F", run.log], debian=False),
    Follower("rsyslog imfile", debian("usr/sbin/rsyslogd"), lambda run: rsyslog(run, block("rsyslog", run))),
    Follower("rsyslog imfile, polling", debian("usr/sbin/rsyslogd"),
             lambda run: imfile(run, 'mode="polling" pollingInterval="1"', "app.log")),
    Follower("rsyslog imfile, *.log", debian("usr/sbin/rsyslogd"), lambda run: imfile(run, "", "*.log")),
    Follower("rsyslog imfile, app.log*", debian("usr/sbin/rsyslogd"), lambda run: imfile(run, "", "app.log*")),
    Follower("syslog-ng follow-freq(1)", debian("usr/sbin/syslog-ng"), lambda run: syslog_ng(run, block("syslog-ng", run))),
    Follower("multitail -f", debian("usr/bin/multitail"), lambda run: [
        "script", "-qfec", f"stty rows 24 cols 80; {ROOT}/usr/bin/multitail -a {run.out} --retry -f {run.log}", "/dev/null"]),
    Follower("fail2ban, pyinotify", debian("usr/bin/fail2ban-server"), lambda run: fail2ban(run, "pyinotify"), shown=addresses),
    Follower("fail2ban, polling", debian("usr/bin/fail2ban-server"), lambda run: fail2ban(run, "polling"), shown=addresses),
    Follower("mtail", debian("usr/bin/mtail"), mtail, shown=metrics),
    Follower("swatchdog", debian("usr/bin/swatchdog"), swatchdog),
    Follower("sec", debian("usr/bin/sec"), sec),
    Follower("xtail", debian("usr/bin/xtail"), lambda run: [ROOT / "usr/bin/xtail", run.log]),
    Follower("perl File::Tail", debian("usr/share/perl5/File/Tail.pm"), lambda run: perl(run, FILE_TAIL)),
    Follower("perl POE FollowTail", debian("usr/share/perl5/POE.pm"), lambda run: perl(run, POE)),
    Follower("ruby file-tail", debian("usr/bin/ruby"), lambda run: [ROOT / "usr/bin/ruby", "--disable-gems", "-e", RUBY, run.log]),
    Follower("logtail", debian("usr/sbin/logtail"), lambda run: each_second(
        run, "perl", ROOT / "usr/sbin/logtail", "-f", run.log, "-o", run.folder / "offset")),
    Follower("logtail2", debian("usr/sbin/logtail2"), logtail2, numbers=True),
    Follower("logtail2 with plug-in", debian("usr/sbin/logtail2"), lambda run: logtail2(run, block("logtail2", run))),
    Follower("since, app.log*", debian("usr/bin/since"), lambda run: since_files(run, "app.log*")),
    Follower("since", debian("usr/bin/since"), lambda run: since_files(run, "app.log")),
    Follower("pygtail", KEPT / "python/bin/pygtail", pygtail, debian=False, numbers=True),
    Follower("pygtail --log-pattern", KEPT / "python/bin/pygtail",
             lambda run: pygtail(run, "--log-pattern=%s.20*Z"), debian=False),
    *(Follower(f"python {name}", *python(name), debian=False) for name in ("ponytail", "multitail2", "tailer")),
    *(Follower(f"npm {name}", *npm(name), debian=False, numbers=name == "tail-file")
      for name in ("tail", "tail-file", "@logdna/tail-file", "always-tail", "nodejs-tail")),
    Follower("Go nxadm/tail", KEPT / "go-follow", lambda run: [KEPT / "go-follow", run.log], debian=False),
    Follower("Go nxadm/tail, polling", KEPT / "go-follow", lambda run: [KEPT / "go-follow", run.log, "poll"], debian=False),
    *(Follower(f"crate {name}", *rust(name), debian=False) for name in ("linemux", "staart", "logwatcher", "chase")),
]

Scene = collections.namedtuple("Scene", "name seconds size rates options", defaults=((),))


def scene(name, per_second, seconds, workers, *options):
    return Scene(name, seconds, int(RATE * LINE / per_second), [RATE / workers] * workers, options)


class Workers:
    """Processes that write numbered lines, each at its rate."""

    def __init__(self, log, scene):
        self.scene, self.counts = scene, [0] * len(scene.rates)
        command = [LOGROTOR, "write", log, "--max-size", str(scene.size), *scene.options]
        self.processes = [subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0) for _ in scene.rates]

    def first(self):
        """Writes one line, so that a follower can show that it is ready."""
        self.processes[0].stdin.write(self.line(0, 0))
        self.counts[0] = 1

    def feed(self):
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < self.scene.seconds:
            for worker, rate in enumerate(self.scene.rates):
                due = max(0, int(passed * rate) - self.counts[worker])
                text = b"".join(self.line(worker, self.counts[worker] + number) for number in range(due))
                self.processes[worker].stdin.write(text)
                self.counts[worker] += due
            time.sleep(0.005)

    def line(self, worker, number):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        address = f"10.{worker}.{number // 256}.{number % 256}"
        return f"{stamp} w{worker} {number:06} login failed from {address} ".ljust(LINE - 1, ".").encode() + b"\n"

    def end(self):
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            if process.wait():
                sys.exit(f"logrotor write: exit status {process.returncode}")
        return {(worker, number) for worker, count in enumerate(self.counts) for number in range(count)}


def missing_looks(log, stop, counts):
    """Looks for the log until told to stop. Counts how often it was not there."""
    while not stop.is_set():
        counts["looks"] += 1
        counts["missing"] += not os.path.exists(log)
        time.sleep(0.001)


def play(scene, followers):
    folder = Path(tempfile.mkdtemp(prefix="followers-"))
    log = folder / "demo/app.log"
    log.parent.mkdir()
    workers = Workers(log, scene)
    while not log.exists():
        time.sleep(0.01)
    runs = [Run(follower, log) for follower in followers]
    try:
        results = measure(scene, log, workers, runs)
    finally:
        for run in runs:
            run.kill()
        for process in workers.processes:
            process.kill()
    if os.environ.get("LOGROTOR_KEEP_RUNS"):
        print(folder)
    else:
        shutil.rmtree(folder)
    return results


def measure(scene, log, workers, runs):
    workers.first()
    until(lambda: all(run.size() for run in runs), 6)
    time.sleep(1)
    stop, looks = threading.Event(), collections.Counter()
    watch = threading.Thread(target=missing_looks, args=(log, stop, looks), daemon=True)
    watch.start()
    workers.feed()
    stop.set()
    watch.join()
    expected = workers.end()
    settle(runs)
    rotations = sum(bool(re.search(r"(\.\d+|Z)(\.log)?(\.gz)?$", file.name)) for file in log.parent.iterdir())
    results = {run.follower.name: judge(run, run.end(), expected) for run in runs}
    kept = subprocess.run([LOGROTOR, "cat", log], capture_output=True, check=True).stdout
    if sorted(re.findall(rb"w(\d) (\d{6})", kept)) != sorted((b"%d" % w, b"%06d" % n) for w, n in expected):
        sys.exit(f"{scene.name}: the log itself lacks lines or has them twice")
    print(f"{scene.name}: {rotations} rotations, {rotations / scene.seconds:.1f} a second; {len(expected)} lines; "
          f"path missing at {looks['missing']} of {looks['looks']} looks", flush=True)
    return results


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def settle(runs):
    """Waits until no follower has shown anything for four seconds, for a minute at most."""
    since, before = time.monotonic(), None
    def is_quiet():
        nonlocal since, before
        sizes = [run.size() for run in runs]
        if sizes != before:
            since, before = time.monotonic(), sizes
        return time.monotonic() - since > 4
    until(is_quiet, 60)


def judge(run, shown, expected):
    count = collections.Counter(shown)
    last, disordered = {}, 0
    for worker, number in shown:
        disordered += number < last.get(worker, -1)
        last[worker] = max(number, last.get(worker, -1))
    of_worker = collections.Counter(worker for worker, _ in expected)
    rare = min(of_worker, key=of_worker.get)
    return {
        "lost": len(expected - count.keys()), "doubled": sum(count.values()) - len(count), "all": len(expected),
        "disordered": disordered, "rare": sum(key[0] == rare for key in count.keys() & expected),
        "rare all": of_worker[rare], "messages": len(re.findall(rb"inaccessible|No such file", run.messages.read_bytes())),
    }


def cell(result):
    def share(number):
        percent = 100 * number / result["all"]
        return "0" if not number else f"{percent:.0f} %" if percent >= 1 else f"{number} lines"
    return share(result["lost"]) + (f", doubled {share(result['doubled'])}" if result["doubled"] else "")


def paces():
    rates = [("one each 3 s", 1 / 3, 31), ("1 per s", 1, 20), ("15 per s", 15, 15)]
    return [scene(f"{name}, {workers} worker{'s' if workers > 1 else ''}", rate, seconds, workers)
            for name, rate, seconds in rates for workers in (1, 4)]


def held():
    """With the settings for followers that look at intervals; and with compression as early as it may come."""
    held = ["--min-interval", "3s", "--keep-uncompressed", "2", "--gzip"]
    return [
        Scene(f"1 per s, held to 3 s, {workers} worker{'s' if workers > 1 else ''}", 31, RATE * LINE, [RATE / workers] * workers,
              options)
        for workers, options in ((1, held), (4, held))
    ] + [
        Scene(f"one each 3 s, {name}", 31, 3 * RATE * LINE, [RATE / 4] * 4, [f"--{name}"]) for name in ("gzip", "infix")
    ]


# A worker that writes ten lines a second, beside one that rotates 1.4 times a second.
RARE = Scene("rare", 15, 21_000, [RATE, 10])

# The fastest pace at which a follower has to show everything. A share of the lines may be lost:
# those that another worker writes to a segment while it is rotated, and those that come while the
# machine is too busy to run the follower. It may be larger where a busy machine must not fail.
LOSSLESS = {
    "logrotor tail -F": "15 per s", "GNU tail -F": "1 per s", "busybox tail -F": "one each 3 s",
    "rsyslog imfile": "1 per s", "syslog-ng follow-freq(1)": "one each 3 s", "multitail -f": "1 per s",
    "mtail": "one each 3 s", "sec": "one each 3 s", "swatchdog": "1 per s", "since, app.log*": "one each 3 s",
    "npm tail-file": "one each 3 s", "npm @logdna/tail-file": "one each 3 s", "crate chase": "one each 3 s",
    "crate logwatcher": "one each 3 s", "perl POE FollowTail": "one each 3 s", "python ponytail": "one each 3 s",
}
LATE, LATE_SHORT = 0.005, 0.1


def broken(results, late):
    """What contradicts `LOSSLESS`. All but `logrotor tail` may lose a share `late` of the lines."""
    found = []
    order = ["one each 3 s", "1 per s", "15 per s"]
    for name, result in results.items():
        pace = name.split(",")[0]
        for follower, limit in LOSSLESS.items():
            if follower in result and "worker" in name and pace in order and order.index(pace) <= order.index(limit):
                one = result[follower]
                allowed = 0 if follower == "logrotor tail -F" else late * one["all"]
                if one["lost"] + one["doubled"] > allowed:
                    found.append(f"{name}: {follower}: {cell(one)}")
    return found


def table(title, followers, scenes):
    results = {scene.name: play(scene, followers) for scene in scenes}
    print(f"\n{title}\n\n| follower | " + " | ".join(results) + " |\n|---|" + "--:|" * len(results))
    for follower in followers:
        print(f"| {follower.name} | " + " | ".join(cell(result[follower.name]) for result in results.values()) + " |")
    print(flush=True)
    return results


def configurations():
    """Has each program check its configuration of the page, where it can do that without running."""
    folder = Path(tempfile.mkdtemp(prefix="followers-"))
    (folder / "demo").mkdir()
    (folder / "demo/app.log").write_text("a line\n")

    class Check(Run):
        def __init__(self):  # the files of a run alone
            self.folder, self.log, self.out = folder, folder / "demo/app.log", folder / "out"

    run, env = Check(), {**os.environ, **DEBIAN}
    checks = [
        ("rsyslogd -N1", ROOT / "usr/sbin/rsyslogd", lambda: [*rsyslog(run, block("rsyslog", run)), "-N1"]),
        ("syslog-ng -s", ROOT / "usr/sbin/syslog-ng", lambda: [*syslog_ng(run, block("syslog-ng", run)), "-s"]),
        ("fail2ban-server -t", ROOT / "usr/bin/fail2ban-server", lambda: [*fail2ban(run, "polling"), "-t"]),
        ("logrotate -d", on_path("logrotate") or "/usr/sbin/logrotate",
         lambda: ["/usr/sbin/logrotate", "-d", run.write("logrotate", block("logrotate", run))]),
    ]
    wrong = []
    for name, program, command in checks:
        if not Path(program).exists():
            print(f"skipped: {name}: not installed")
            continue
        done = subprocess.run(list(map(str, command())), env=env, capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        sound = done.returncode == 0 and "error:" not in said
        print(f"configuration: {name}: {'accepted' if sound else said}")
        wrong += [] if sound else [f"{name} rejects the configuration"]
    shutil.rmtree(folder)
    return wrong


def short():
    """The followers that cost little, at one pace. A busy machine may hold one up, so there are three tries."""
    names = ["logrotor tail -F", "GNU tail -F", "busybox tail -F", "rsyslog imfile", "syslog-ng follow-freq(1)", "multitail -f"]
    followers = there([follower for follower in FOLLOWERS if follower.name in names])
    for _ in range(3):
        wrong = broken(table("Short form", followers, [scene("1 per s, 4 workers", 1, 8, 4)]), LATE_SHORT)
        if not wrong or any("logrotor" in line for line in wrong):
            return wrong
    return wrong


def there(followers):
    return [follower for follower in followers if follower.is_there() or print(f"skipped: {follower.name}: not installed")]


def long():
    only, wanted = os.environ.get("LOGROTOR_ONLY", ""), os.environ.get("LOGROTOR_SCENES", "")
    followers = there([follower for follower in FOLLOWERS if re.search(only, follower.name)])
    scenes = [scene for scene in [*paces(), *held()] if re.search(wanted, scene.name)]
    results = table("Backups named by time", followers, scenes) if scenes else {}
    numbered = [scene._replace(name=f"{scene.name}, numbers", options=["--number"]) for scene in paces()]
    numbered = [scene for scene in numbered if re.search(wanted, scene.name) and "15" not in scene.name]
    if followers and numbered:
        table("Backups named by number", [follower for follower in followers if follower.numbers], numbered)
    late = []
    if re.search(wanted, "rare"):
        rare = play(RARE, [follower for follower in followers if follower.name in LOSSLESS])
        print("\nA worker with ten lines a second beside one that rotates 1.4 times a second\n\n| follower | its lines |\n|---|--:|")
        for name, result in rare.items():
            said = f"{result['rare']} of {result['rare all']}"
            print(f"| {name} | {said} |")
            # One record may be written between a rotation and its report.
            if LOSSLESS[name] != "one each 3 s" and 150 * result["rare"] < 149 * result["rare all"]:
                late.append(f"{name}: {said} lines of the worker that writes rarely")
    return broken(results, LATE) + late


def main():
    wrong = configurations() + (short() if "--short" in sys.argv else long())
    if wrong:
        sys.exit("\n".join(wrong))


main()
