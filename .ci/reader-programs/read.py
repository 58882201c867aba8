"""Python's readers of gzip and Zstandard, those that are installed. Prints a row of tab-separated cells for each."""
import gzip
import importlib
import importlib.metadata
import io
import pathlib
import platform
import sys
import zlib

FOLDER = pathlib.Path(sys.argv[1])


def whole(module, name):
    return lambda m, p: getattr(m, name)(p.read_bytes())


def frame(column):
    return b"".join(line.encode() + b"\n" for line in column)


def polars(m, source):
    options = dict(has_header=False, separator="\x01", quote_char=None, encoding="utf8")
    return m.read_csv(source, **options)["column_1"].to_list()


def csv(read):
    """Of an empty file a reader of tables may say that there is none."""
    return lambda m, p: b"" if is_empty(p) else frame(read(m, p))


def is_empty(path):
    return not path.with_name(path.name + ".plain").stat().st_size


def duck(m, p):
    query = "select * from read_csv(?, header=false, columns={'l': 'varchar'}, delim='\x01', quote='', parallel=false)"
    return [row[0] for row in m.connect().execute(query, [str(p)]).fetchall()]


STDLIB = [("gzip.decompress", "gz", lambda p: gzip.decompress(p.read_bytes())),
          ("gzip.open", "gz", lambda p: gzip.open(p).read()),
          ("zlib.decompress", "gz", lambda p: zlib.decompress(p.read_bytes(), 31))]

READERS = [
    ("zstandard", "zstandard", "decompress", "zst", whole("zstandard", "decompress")),
    ("zstandard", "zstandard", "decompressobj", "zst", lambda m, p: m.ZstdDecompressor().decompressobj().decompress(p.read_bytes())),
    ("zstandard", "zstandard", "stream_reader", "zst", lambda m, p: m.ZstdDecompressor().stream_reader(io.BytesIO(p.read_bytes())).read()),
    ("zstandard", "zstandard", "open", "zst", lambda m, p: m.open(p, "rb").read()),
    ("backports.zstd", "backports.zstd", "decompress", "zst", whole("backports.zstd", "decompress")),
    ("backports.zstd", "backports.zstd", "ZstdDecompressor", "zst", lambda m, p: m.ZstdDecompressor().decompress(p.read_bytes())),
    ("backports.zstd", "backports.zstd", "open", "zst", lambda m, p: m.open(p).read()),
    ("compression.zstd", "", "decompress", "zst", whole("compression.zstd", "decompress")),
    ("compression.zstd", "", "ZstdDecompressor", "zst", lambda m, p: m.ZstdDecompressor().decompress(p.read_bytes())),
    ("pyzstd", "pyzstd", "decompress", "zst", whole("pyzstd", "decompress")),
    ("pyzstd", "pyzstd", "ZstdDecompressor", "zst", lambda m, p: m.ZstdDecompressor().decompress(p.read_bytes())),
    ("polars", "polars", "read_csv of bytes", "gz zst", csv(lambda m, p: polars(m, p.read_bytes()))),
    ("polars", "polars", "read_csv of a path", "gz zst", csv(polars)),
    ("polars", "polars", "scan_csv", "gz zst", csv(lambda m, p: m.scan_csv(p, has_header=False, separator="\x01", quote_char=None).collect()["column_1"].to_list())),
    ("duckdb", "duckdb", "read_csv", "gz zst", csv(duck)),
    ("pyarrow", "pyarrow", "input_stream", "gz zst", lambda m, p: m.input_stream(str(p), compression={".gz": "gzip", ".zst": "zstd"}[p.suffix]).read()),
    ("pandas", "pandas", "read_csv", "gz zst", csv(lambda m, p: m.read_csv(p, header=None, sep="\x01", quoting=3, dtype=str, keep_default_na=False)[0])),
    ("cramjam", "cramjam", "decompress", "gz zst", lambda m, p: bytes(getattr(m, {".gz": "gzip", ".zst": "zstd"}[p.suffix]).decompress(p.read_bytes()))),
    ("isal.igzip", "isal", "open", "gz", lambda m, p: m.open(p).read()),
    ("rapidgzip", "rapidgzip", "open", "gz", lambda m, p: m.open(str(p)).read()),
]


def wrong(suffix, read):
    for path in sorted(FOLDER.glob(f"*.{suffix}"), key=lambda path: int(path.name.split(".")[0])):
        content = path.with_name(path.name + ".plain").read_bytes()
        try:
            found = read(path)
            said = "empty" if content and not found else f"{len(found)} of {len(content)} bytes"
        except Exception as error:
            found, said = None, f"{type(error).__name__}: {error}".replace("\t", " ").replace("\n", " ")[:60]
        if found != content:
            yield f"{path.stat().st_size} bytes compressed: {said}"


for name, suffix, read in STDLIB:
    print("Python", name, platform.python_version(), suffix, *wrong(suffix, read), sep="\t")
for module, distribution, name, formats, read in READERS:
    try:
        found = importlib.import_module(module)
    except ImportError:
        continue
    version = importlib.metadata.version(distribution) if distribution else platform.python_version()
    for suffix in formats.split():
        print("Python", f"{module} {name}", version, suffix, *wrong(suffix, lambda path: read(found, path)), sep="\t")
