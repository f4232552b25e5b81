"""Every fuzz target for PTWOP_FUZZ_S seconds (20), from good inputs and from what earlier runs kept.

A finding fails, prints its input in base64, and keeps it in the target's corpus folder ($PTWOP_FUZZ_CORPUS, else one that is gone
afterwards). What the target for DAG-CBOR came upon is then held against cbor2, a decoder of other people's.
"""

import base64
import concurrent.futures
import contextlib
import io
import json
import os
import pathlib
import re
import struct
import subprocess
import unittest

import cbor2
import fixtures
from daemon import REPO

SECONDS = int(os.environ.get("PTWOP_FUZZ_S", 20))
BUILD = pathlib.Path(os.environ.get("PTWOP_FUZZ_BUILD", REPO / "build-asan")) / "tests/fuzz"
TIME_LIMIT_S = 1800 + 12 * SECONDS
TARGETS = sorted(path.stem for path in pathlib.Path(__file__).parent.glob("*.cpp") if path.stem not in ("seeds", "verdicts"))
# What one input may cost: memory with the sanitizers' own, and time beside other work.
LIMITS = ["-rss_limit_mb=2048", "-timeout=20"]
LENGTHS = {"replica": 4096, "request": 16384, "config": 2048}


def strict_dag_cbor(data):
    """cbor2's word on whether `data` is one strict DAG-CBOR item: it decodes, and encodes to the same bytes again."""
    try:
        with contextlib.closing(io.BytesIO(data)) as stream:
            decoder = cbor2.CBORDecoder(stream, tag_hook=lambda _, tag: tag, str_errors="strict")
            value = decoder.decode()
            if stream.read(1):
                return False
        return encode(value) == data
    except Exception:
        return False


def head(major, value):
    encoded = bytearray(cbor2.dumps(value, canonical=True))
    encoded[0] |= major << 5
    return bytes(encoded)


def is_link(data):
    """0x00 and a CID: v0 (a bare SHA-256 multihash), or v1 with varints in their shortest form and a digest that fits."""
    cid = data[1:]
    if data[:1] != b"\0":
        return False
    if cid[:2] == b"\x12\x20":
        return len(cid) == 34
    numbers = []
    while len(numbers) < 4:
        end = next((i for i, byte in enumerate(cid[:9]) if byte < 0x80), None)
        if end is None or (end > 0 and cid[end] == 0):
            return False
        numbers.append(sum((byte & 0x7F) << 7 * i for i, byte in enumerate(cid[: end + 1])))
        cid = cid[end + 1:]
    return numbers[0] == 1 and numbers[3] == len(cid)


DEPTH_MAX = 128  # kIpldDepthMax


def encode(value, depth=0):
    """Canonical DAG-CBOR with cbor2's integers and strings; floats are always 64 bits, tags are links."""
    if isinstance(value, (list, tuple, dict)) and depth == DEPTH_MAX:
        raise ValueError("too deep")
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError("no such float")
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, (list, tuple)):
        return head(4, len(value)) + b"".join(encode(one, depth + 1) for one in value)
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return head(5, len(value)) + b"".join(cbor2.dumps(key) + encode(value[key], depth + 1) for key in keys)
    if isinstance(value, cbor2.CBORTag):
        if value.tag != 42 or not isinstance(value.value, bytes) or not is_link(value.value):
            raise ValueError("no link")
        return b"\xd8\x2a" + cbor2.dumps(value.value)
    if value is None or isinstance(value, (bool, int, str, bytes)):
        if isinstance(value, int) and not -(1 << 64) <= value < 1 << 64:
            raise ValueError("too big")
        return cbor2.dumps(value, canonical=True)
    raise ValueError(f"no DAG-CBOR: {type(value)}")


class Fuzz(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not (BUILD / "fuzz_seeds").exists():
            if os.environ.get("CI"):
                raise AssertionError(f"no fuzz targets in {BUILD}: they need clang")
            raise unittest.SkipTest("no fuzz targets: they are built with clang, by scripts/test --sanitize")
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        kept = os.environ.get("PTWOP_FUZZ_CORPUS")
        cls.corpus = pathlib.Path(kept) if kept else fixtures.temporary_folder(stack)
        cls.corpus.mkdir(parents=True, exist_ok=True)
        subprocess.run([BUILD / "fuzz_seeds", cls.corpus], check=True)
        for target in TARGETS:
            (cls.corpus / target).mkdir(exist_ok=True)
        cls.more_seeds()

    @classmethod
    def more_seeds(cls):
        for path in (REPO / "rpc-schema").glob("*.*.json"):
            schema = json.loads(path.read_text())
            for number, example in enumerate(schema["examples"]):
                params = {one["name"]: one["value"] for one in example["params"]} if isinstance(example["params"], list) \
                    else example["params"]
                request = {"jsonrpc": "2.0", "id": number, "method": path.stem, "params": params}
                (cls.corpus / "request" / f"{path.stem}-{number}").write_text(json.dumps(request) + "\n")
                (cls.corpus / "dag_json" / f"{path.stem}-{number}").write_text(json.dumps(example.get("result", params)))
        for number, text in enumerate((
                '{"Message":"no","Code":0,"Type":"error"}', '{"Version":"0.43.0","Commit":"","System":"amd64/linux"}',
                '{"ID":"12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"}', '{"Key":"bafy","Size":3}\n{"Key":"bafy","Size":3}\n',
                '{"from":"12D3KooW","data":"uAQID","seqno":"uAA","topicIDs":["uAA"]}\n', "/ip4/127.0.0.1/tcp/5001", "/unix/run/ipfs.sock",
                "http://[::1]:5001/")):
            (cls.corpus / "kubo" / f"text-{number}").write_text(text)
        for number, text in enumerate((
                'data = "/var/lib/ptwop"\nsocket = "/run/ptwop/rpc.sock"\nkubo = "none"\nlog-level = "debug"\n',
                "kubo='/ip4/127.0.0.1/tcp/5001'\n[section]\nx=1\n", "bearer:secret\n", "basic:user:password\n")):
            (cls.corpus / "config" / f"text-{number}").write_text(text)

    def fuzz(self, target):
        folder = self.corpus / target
        done = subprocess.run(
            [BUILD / f"fuzz_{target}", f"-max_total_time={SECONDS}", f"-max_len={LENGTHS.get(target, 4096)}", "-print_final_stats=1",
             f"-artifact_prefix={folder}/finding-", *LIMITS, folder],
            stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"})
        said = done.stderr.decode(errors="replace")
        runs = re.search(r"stat::number_of_executed_units: (\d+)", said)
        findings = [f"{path.name}: {base64.b64encode(path.read_bytes()).decode()}" for path in folder.glob("finding-*")]
        return target, done.returncode, int(runs[1]) if runs else 0, said[-4000:] + "\n".join(findings)

    def test_targets(self):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for target, code, runs, said in pool.map(self.fuzz, TARGETS):
                with self.subTest(target):
                    self.assertEqual(code, 0, said)
                    self.assertGreater(runs, 10, said)
                    print(f"  {target}: {runs} runs", flush=True)
        ours = self.verdicts(sorted((self.corpus / "dag_cbor").iterdir()))
        theirs = {path: strict_dag_cbor(path.read_bytes()) for path in ours}
        differ = [path for path in ours if ours[path] != theirs[path]]
        self.assertFalse([(base64.b64encode(path.read_bytes()).decode(), ours[path], theirs[path]) for path in differ])
        print(f"  dag_cbor beside cbor2: {len(ours)} inputs, {sum(ours.values())} of them strict")

    def verdicts(self, paths):
        done = subprocess.run([BUILD / "fuzz_verdicts", *paths], check=True, stdout=subprocess.PIPE, text=True)
        return {path: line == "strict" for path, line in zip(paths, done.stdout.splitlines(), strict=True)}


if __name__ == "__main__":
    unittest.main()
