"""A server that speaks S3, for `.ci/archive`, `.ci/archive --scale` and `benches/archive.sh`."""

import re
import socket
import subprocess
import time
import urllib.request

import boto3
from botocore.config import Config

BUCKET = "logs"
ACCESS, SECRET, REGION = "S3RVER", "S3RVER", "us-east-1"


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Server:
    """A server that can be killed and started again. `name` is `weed` (SeaweedFS) or `s3rver`."""

    def __init__(self, name, tools, work, volumes=20, volume_mb=64, options=()):
        self.name, self.tools, self.work, self.dir = name, tools, work, work / name
        self.volumes, self.volume_mb, self.options = volumes, volume_mb, options
        self.dir.mkdir()
        # SeaweedFS takes the port plus 10000 for each port as well.
        while True:
            self.ports = free_ports(5)
            if max(self.ports) < 55000:
                break
        self.endpoint = f"http://127.0.0.1:{self.ports[0]}"
        self.environment = {
            "AWS_ENDPOINT": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
        }
        self.process = None
        self.start()
        self.client = self.new_client()
        self.wait(lambda: self.client.create_bucket(Bucket=BUCKET))

    def wait(self, ask=None):
        """Waits until the server answers."""
        ask = ask or (lambda: self.client.list_objects_v2(Bucket=BUCKET, MaxKeys=1))
        for attempt in range(60):
            try:
                ask()
                return
            except Exception:
                if attempt == 59:
                    raise
                time.sleep(1)

    def new_client(self, connections=10):
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            region_name=REGION,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"max_attempts": 20},
                max_pool_connections=connections,
            ),
        )

    def start(self):
        s3, *others, metrics = map(str, self.ports)
        if self.name == "s3rver":
            program = self.tools / "npm/node_modules/.bin/s3rver"
            command = [program, "-d", self.dir, "-a", "127.0.0.1", "-p", s3]
        else:
            options = ["-master.port=" + others[0], "-volume.port=" + others[1]]
            options += ["-filer.port=" + others[2], "-metricsPort=" + metrics]
            # Without other services, whose ports are fixed, and without reports to its makers.
            options += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
            limits = [f"-volume.max={self.volumes}", f"-master.volumeSizeLimitMB={self.volume_mb}"]
            where = ["-dir=" + str(self.dir), "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
            command = [self.tools / "python/bin/weed", "server", "-s3", "-s3.port=" + s3]
            command += [*where, *options, *limits, *self.options]
        log = open(self.work / f"{self.name}.log", "a")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def objects(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        keys = [key for key in keys if not key.endswith(".origin")]
        return {key: self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def requests(self):
        """How many requests SeaweedFS has counted: `PUT`, `GET` with `HEAD`, and `LIST`."""
        metrics = f"http://127.0.0.1:{self.ports[4]}/metrics"
        text = urllib.request.urlopen(metrics).read().decode()
        counts = {"PUT": 0, "GET": 0, "LIST": 0}
        pattern = r'^SeaweedFS_s3_request_total\{bucket="%s".*type="(\w+)"\} (\S+)$' % BUCKET
        for kind, count in re.findall(pattern, text, re.MULTILINE):
            counts[kind] = counts.get(kind, 0) + int(float(count))
        return counts
