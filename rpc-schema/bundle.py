#!/usr/bin/env python3
"""Bundles the files of this folder into one OpenRPC document, as a C++ source (or, with --json, as JSON).

A method's file is an OpenRPC method object with three differences, undone here: `errors` lists kinds of errors.json,
types of common.json are referred to by file, and an example has `params` by name and the bare `result`.
"""
import argparse
import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
SHARED = {"common.json", "errors.json"}


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def with_local_refs(node):
    """`common.json#/$defs/key` → `#/components/schemas/key`, everywhere below `node`."""
    if isinstance(node, dict):
        return {name: part.replace("common.json#/$defs/", "#/components/schemas/")
                if name == "$ref" else with_local_refs(part) for name, part in node.items()}
    if isinstance(node, list):
        return [with_local_refs(part) for part in node]
    return node


def example_pairing(example):
    pairing = {name: part for name, part in example.items() if name not in ("params", "result")}
    pairing["params"] = [{"name": name, "value": value} for name, value in example["params"].items()]
    pairing["result"] = {"name": "result", "value": example["result"]}
    return pairing


def method_object(method):
    out = dict(method)
    out["paramStructure"] = "either"
    out["errors"] = [{"$ref": "#/components/errors/" + kind} for kind in method["errors"]]
    out["examples"] = [example_pairing(example) for example in method["examples"]]
    return out


def bundle(version):
    common = read(FOLDER / "common.json")
    methods = []
    for path in sorted(FOLDER.glob("*.json")):
        if path.name in SHARED:
            continue
        method = with_local_refs(read(path))
        if path.name != method["name"] + ".json":
            sys.exit(f"{path.name} describes {method['name']}")
        methods.append(method_object(method))
    return {
        "openrpc": "1.2.6",
        "info": {"title": "PtwopDB", "version": version, "description": common["description"],
                 "license": {"name": "Apache-2.0"}},
        "x-example-order": common["example_order"],
        "methods": methods,
        "components": {"schemas": with_local_refs(common["$defs"]),
                       "errors": read(FOLDER / "errors.json")["errors"]},
    }


def cpp_source(text):
    assert ')json"' not in text
    return ('#include "rpc/schema.h"\n\n'
            "std::string_view ptwop::rpc::openrpc_document() {\n"
            f'  return R"json({text})json";\n}}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", default="0")
    parser.add_argument("--output", help="the file to write; standard output when absent")
    parser.add_argument("--depfile")
    parser.add_argument("--json", action="store_true", help="plain JSON, not C++")
    options = parser.parse_args()
    text = json.dumps(bundle(options.version), ensure_ascii=False, separators=(",", ":"))
    source = text + "\n" if options.json else cpp_source(text)
    if options.output:
        pathlib.Path(options.output).write_text(source, encoding="utf-8")
    else:
        sys.stdout.write(source)
    if options.depfile:
        # The folder itself too, so that a file that is new or gone counts.
        inputs = [FOLDER, *sorted(FOLDER.glob("*.json"))]
        names = " ".join(str(path).replace(" ", "\\ ") for path in inputs)
        pathlib.Path(options.depfile).write_text(f"{options.output}: {names}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
