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

import boto3
from botocore.config import Config

COMMAND, TOOLS, WORK = (pathlib.Path(argument) for argument in sys.argv[1:4])
SECONDS = float(sys.argv[4])
WORKERS = 4
SERVER_KILLS = 10
SEED = int(os.environ.get("LOGROTOR_SEED", random.SystemRandom().getrandbits(32)))
BUCKET = "logs"


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Server:
    """A server that speaks S3, which can be killed and started again."""

    def __init__(self, name):
        self.name, self.dir = name, WORK / name
        self.dir.mkdir()
        # SeaweedFS takes the port plus 10000 for each port as well.
        while True:
            self.ports = free_ports(4)
            if max(self.ports) < 55000:
                break
        self.endpoint = f"http://127.0.0.1:{self.ports[0]}"
        self.environment = {
            "AWS_ENDPOINT": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "S3RVER",
            "AWS_SECRET_ACCESS_KEY": "S3RVER",
            "AWS_REGION": "us-east-1",
        }
        self.process = None
        self.start()
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="S3RVER",
            aws_secret_access_key="S3RVER",
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 20}),
        )
        for attempt in range(60):
            try:
                self.client.create_bucket(Bucket=BUCKET)
                return
            except Exception:
                if attempt == 59:
                    raise
                time.sleep(1)

    def start(self):
        s3, *others = map(str, self.ports)
        if self.name == "s3rver":
            command = [TOOLS / "npm/node_modules/.bin/s3rver", "-d", self.dir, "-a", "127.0.0.1", "-p", s3]
        else:
            options = ["-master.port=" + others[0], "-volume.port=" + others[1], "-filer.port=" + others[2]]
            limits = ["-volume.max=20", "-master.volumeSizeLimitMB=64"]
            where = ["-dir=" + str(self.dir), "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.port=" + s3]
            command = [TOOLS / "python/bin/weed", "server", "-s3", *where, *options, *limits]
        log = open(WORK / f"{self.name}.log", "a")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def objects(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        keys = [key for key in keys if not key.endswith(".origin")]
        return {key: self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


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
        if (time.monotonic() - start) / SECONDS * SERVER_KILLS > server_kills + 1:
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
    missing = [line for line in expected if found[line] == 0]
    twice = [line for line in expected if found[line] > 1]
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
        server = Server(name)
        try:
            check(server)
        finally:
            server.kill()
    if (TOOLS / "npm/node_modules/.bin/azurite-blob").exists():
        azure()


main()
