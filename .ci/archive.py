"""The load of `.ci/archive`: see there. Arguments: the command, the servers, a directory, seconds."""

import collections
import gzip
import hashlib
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time

from archive_server import BUCKET, Server

COMMAND, TOOLS, WORK = (pathlib.Path(argument) for argument in sys.argv[1:4])
SECONDS = float(sys.argv[4])
WORKERS = 4
SERVER_KILLS = max(1, min(10, round(SECONDS / 5)))
SEED = int(os.environ.get("LOGROTOR_SEED", random.SystemRandom().getrandbits(32)))


class Worker:
    """`logrotor write`, fed with numbered lines. Its copies of lines are acknowledgements."""

    def __init__(self, number, log, url, environment):
        self.number, self.acknowledged = number, WORK / f"acknowledged.{number}"
        options = ["--max-size", "64KiB", "--gzip", "--keep", "2", "--tee", "--archive", url]
        self.process = subprocess.Popen(
            [COMMAND, "write", log, *options],
            stdin=subprocess.PIPE,
            stdout=open(self.acknowledged, "wb"),
            stderr=open(WORK / f"messages.{number}", "wb"),
            env={**os.environ, **environment},
        )
        threading.Thread(target=self.feed, daemon=True).start()

    def feed(self):
        sequence = 0
        try:
            while True:
                padding = "x" * (20 + (self.number * 31 + sequence * 17) % 90)
                self.process.stdin.write(f"w{self.number:03} {sequence:08} {padding}\n".encode())
                sequence += 1
                if sequence % 50 == 0:
                    self.process.stdin.flush()
                    time.sleep(0.05)
        except (BrokenPipeError, ValueError):
            pass

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.wait()

    def lines(self):
        return [line for line in self.acknowledged.read_bytes().split(b"\n")[:-1]]


def watch(directory, seen, ended):
    """Notes the digest of every compressed backup that is ever there."""
    while not ended.is_set():
        for path in directory.glob("app.log.*Z.gz"):
            if path.name not in seen:
                try:
                    seen[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
                except FileNotFoundError:
                    pass
        time.sleep(0.005)


def load(server):
    chance = random.Random(SEED)
    directory = WORK / "load"
    directory.mkdir()
    log, url = directory / "app.log", f"s3://{BUCKET}/load"
    seen, ended = {}, threading.Event()
    threading.Thread(target=watch, args=(directory, seen, ended), daemon=True).start()
    workers = [Worker(number, log, url, server.environment) for number in range(WORKERS)]
    all_workers = list(workers)
    start = time.monotonic()
    server_kills = worker_kills = 0
    while time.monotonic() - start < SECONDS:
        time.sleep(chance.uniform(0.2, 1.0))
        at = chance.randrange(WORKERS)
        workers[at].kill()
        worker_kills += 1
        workers[at] = Worker(len(all_workers), log, url, server.environment)
        all_workers.append(workers[at])
        if (time.monotonic() - start) / SECONDS * SERVER_KILLS > server_kills + 0.5:
            server.kill()
            server_kills += 1
            server.start()
    for worker in workers:
        worker.end()
    finish = [COMMAND, "archive", log, "--to", url, "--rotate", "--wait"]
    subprocess.run(finish, check=True, env={**os.environ, **server.environment}, stdout=subprocess.DEVNULL)
    ended.set()
    objects = server.objects("load/")
    names = collections.Counter(key.rsplit("/", 1)[1] for key in objects)
    doubled = [name for name, count in names.items() if count > 1]
    lost = [
        name
        for name, digest in seen.items()
        if not any(
            key.endswith("/" + name) and hashlib.sha256(body).hexdigest() == digest
            for key, body in objects.items()
        )
    ]
    found = collections.Counter()
    for body in objects.values():
        found.update(gzip.decompress(body).split(b"\n"))
    expected = [line for worker in all_workers for line in worker.lines()]
    # As the objects have them, and as the command reads them back.
    cat = [COMMAND, "cat", f"{url}/app.log"]
    done = subprocess.run(cat, check=True, env={**os.environ, **server.environment}, stdout=subprocess.PIPE)
    printed = collections.Counter(done.stdout.split(b"\n"))
    missing = [line for line in expected if 0 in (found[line], printed[line])]
    twice = [line for line in expected if max(found[line], printed[line]) > 1]
    print(
        f"{len(expected)} records acknowledged, {len(objects)} objects, {worker_kills} kills of workers, "
        f"{server_kills} of the server: {len(missing)} lost, {len(twice)} doubled; "
        f"{len(lost)} backups went too early, {len(doubled)} objects are there twice"
    )
    assert expected and server_kills and not (missing or twice or lost or doubled), (missing[:3], lost[:3])


def ignores(server):
    """A server that ignores conditions is named, and the objects are right nevertheless."""
    directory = WORK / "ignores"
    directory.mkdir()
    log, environment = directory / "app.log", {**os.environ, **server.environment}
    subprocess.run([COMMAND, "write", log], input=b"a record\n", check=True)
    archive = [COMMAND, "archive", log, "--to", f"s3://{BUCKET}/ignores", "--rotate", "--wait"]
    done = subprocess.run(archive, check=True, env=environment, capture_output=True, text=True)
    assert "replaced an object that it was asked to create only if there is none" in done.stderr, done
    assert list(server.objects("ignores/").values()) == [b"a record\n"]
    print(f"{server.name} ignores conditions: named, and used")


# The public account of every Azurite.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def azurite_answers():
    with socket.socket() as usual:
        return usual.connect_ex(("127.0.0.1", 10000)) == 0


def azure():
    """Azurite as Azure Blob Storage. The client takes it to be on its usual port."""
    from azure.storage.blob import BlobServiceClient

    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    where = ["--blobHost", "127.0.0.1", "--blobPort", "10000"]
    log = open(WORK / "azurite.log", "a")
    server = subprocess.Popen(
        [TOOLS / "npm/node_modules/.bin/azurite-blob", *options, *where], stdout=log, stderr=log
    )
    try:
        while not azurite_answers():
            if server.poll() is not None:
                raise RuntimeError("Azurite ended: " + (WORK / "azurite.log").read_text()[:2000])
            time.sleep(0.1)
        endpoint = f"BlobEndpoint=http://127.0.0.1:10000/{ACCOUNT};"
        client = BlobServiceClient.from_connection_string(
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{endpoint}"
        )
        client.create_container(BUCKET)
        directory = WORK / "azure"
        directory.mkdir()
        log = directory / "app.log"
        environment = {**os.environ, "AZURE_STORAGE_USE_EMULATOR": "true"}
        archive = [COMMAND, "archive", log, "--to", f"az://{BUCKET}/azure", "--rotate", "--wait"]
        for number in range(3):
            line = b"record %d\n" % number
            subprocess.run([COMMAND, "write", log], input=line, check=True)
            subprocess.run(archive, check=True, env=environment, stdout=subprocess.DEVNULL)
        container = client.get_container_client(BUCKET)
        names = [blob.name for blob in container.list_blobs() if not blob.name.endswith(".origin")]
        found = [container.download_blob(name).readall() for name in names]
        assert found == [b"record 0\n", b"record 1\n", b"record 2\n"], found
        print("azurite: 3 segments, each once")
    finally:
        server.kill()
        server.wait()


def main():
    print(f"LOGROTOR_SEED={SEED}")
    servers = [("weed", load)]
    if (TOOLS / "npm/node_modules/.bin/s3rver").exists():
        servers.append(("s3rver", ignores))
    for name, check in servers:
        server = Server(name, TOOLS, WORK)
        try:
            check(server)
        finally:
            server.kill()
    if not (TOOLS / "npm/node_modules/.bin/azurite-blob").exists():
        return
    if azurite_answers():
        print("skipped: Azurite: another program has its port")
        return
    azure()


main()
