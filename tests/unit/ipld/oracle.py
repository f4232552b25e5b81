#!/usr/bin/env python3
"""Writes oracle_vectors.h: values encoded by cbor2 (canonical) next to their DAG-JSON, so that an
independent encoder stands against ours. Run by hand when vectors are added; the output is committed.

    ./oracle.py > oracle_vectors.h
"""
import json
import random
import struct
import sys

import cbor2


def dag_cbor(value):
    """cbor2's canonical form orders maps and shortens integers as DAG-CBOR does; it also shortens floats,
    which DAG-CBOR does not: those are put in by hand."""
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(dag_cbor, value))
    if isinstance(value, dict):
        keys = list(cbor2.loads(cbor2.dumps({k: None for k in value}, canonical=True)))
        return head(5, len(value)) + b"".join(cbor2.dumps(k, canonical=True) + dag_cbor(value[k]) for k in keys)
    return cbor2.dumps(value, canonical=True)


def head(major, count):
    encoded = bytearray(cbor2.dumps(count, canonical=True))
    encoded[0] |= major << 5
    return bytes(encoded)


def random_value(rng, depth):
    kind = rng.randrange(8 if depth > 0 else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind in (1, 2):
        return rng.choice([1, -1]) * rng.getrandbits(rng.randrange(1, 63))
    if kind == 3:
        return rng.choice([0.0, -0.0, 1.0, 1e22, 1e-7, 1e300, rng.uniform(-1e6, 1e6), rng.random() * 1e-300])
    if kind in (4, 5):
        return random_text(rng)
    if kind == 6:
        return [random_value(rng, depth - 1) for _ in range(rng.randrange(5))]
    return {random_text(rng).replace("/", ":"): random_value(rng, depth - 1) for _ in range(rng.randrange(6))}


def random_text(rng):
    return "".join(rng.choice("ab\0\"\\\n\x1f é€😀/zZ") for _ in range(rng.choice([0, 1, 2, 3, 30])))


def c_string(data):
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else "\\%03o" % b for b in data) + '"'


def main():
    rng = random.Random(20)
    values = [0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63 - 1, -1, -24, -25, -(2**63), 1.0, [], {},
              {"b": 1, "a": 2, "aa": 3, "": 4, "B": 5}, "x" * 300, list(range(30))]
    values += [random_value(rng, 4) for _ in range(150)]
    print("// Made by oracle.py: DAG-JSON and what cbor2 (canonical) makes of it.\n#pragma once\n#include <string_view>\n")
    print("struct Vector { std::string_view json, cbor_hex; };\n\ninline constexpr Vector kVectors[] = {")
    for value in values:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5, separators=(",", ":")).encode()
        print("    {%s,\n     \"%s\"}," % (c_string(text), dag_cbor(value).hex()))
    print("};")


if __name__ == "__main__":
    sys.exit(main())
