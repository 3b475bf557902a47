"""Holds crash.json files against their schema, and the schema against its promise: nothing may be missing from an
account, and nothing may be in it that the schema doesn't know.

    check_crash_json.py SCHEMA FILE...
"""

import copy
import json
import sys

import jsonschema


def objects(document, path=()):
    """Every object in a document, with the keys and indexes that lead to it."""
    if isinstance(document, dict):
        yield path, document
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in items:
        yield from objects(value, path + (key,))


def at(document, path):
    for key in path:
        document = document[key]
    return document


def check_strictness(validator, document, name):
    for path, found in objects(document):
        for key in found:
            without = copy.deepcopy(document)
            del at(without, path)[key]
            assert not validator.is_valid(without), f"{name}: {path} is valid without {key}"
        more = copy.deepcopy(document)
        at(more, path)["other"] = None
        assert not validator.is_valid(more), f"{name}: {path} is valid with a key more"


def main(schema_path, *paths):
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in paths:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        validator.validate(document)
        check_strictness(validator, document, path)
    assert paths, "no files"


main(*sys.argv[1:])
