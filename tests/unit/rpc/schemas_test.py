#!/usr/bin/python3
"""Holds every example in rpc-schema/ to its own method's schema, and the bundle to itself."""

import importlib.util
import pathlib
import unittest

import jsonschema

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "rpc-schema"


def bundle():
    spec = importlib.util.spec_from_file_location("bundle", FOLDER / "bundle.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.bundle("0")


class Schemas(unittest.TestCase):
    def setUp(self):
        self.document = bundle()

    def check(self, value, schema):
        jsonschema.Draft7Validator({**schema, "components": self.document["components"]}).validate(value)

    def test_schemas_are_schemas(self):
        components = self.document["components"]["schemas"].values()
        params = [param["schema"] for method in self.document["methods"] for param in method["params"]]
        results = [method["result"]["schema"] for method in self.document["methods"]]
        for schema in [*components, *params, *results]:
            jsonschema.Draft7Validator.check_schema(schema)

    def test_examples_fit(self):
        for method in self.document["methods"]:
            params = {param["name"]: param for param in method["params"]}
            for example in method["examples"]:
                with self.subTest(method["name"], example=example["name"]):
                    given = {param["name"]: param["value"] for param in example["params"]}
                    self.assertLessEqual(set(given), set(params))
                    self.assertLessEqual({name for name, param in params.items() if param["required"]}, set(given))
                    for name, value in given.items():
                        self.check(value, params[name]["schema"])
                    self.check(example["result"]["value"], method["result"]["schema"])

    def test_a_wrong_result_does_not_fit(self):
        method = next(method for method in self.document["methods"] if method["name"] == "kv.get")
        good = method["examples"][0]["result"]["value"]
        for wrong in ({}, {**good, "extra": 1}, {**good, "time_ms": "1"}, {**good, "writer": "me"}):
            with self.assertRaises(jsonschema.ValidationError):
                self.check(wrong, method["result"]["schema"])

    def test_every_reference_has_a_target(self):
        def walk(node):
            if isinstance(node, dict):
                for name, part in node.items():
                    if name == "$ref":
                        target = self.document
                        for step in part.removeprefix("#/").split("/"):
                            target = target[step]
                    else:
                        walk(part)
            elif isinstance(node, list):
                for part in node:
                    walk(part)

        walk(self.document)


if __name__ == "__main__":
    unittest.main()
