"""What corectl doctor --json says, checked. Also tests/docker's."""

import json
import pathlib

import jsonschema

SCHEMA = json.loads((pathlib.Path(__file__).resolve().parents[2] /
                     "src/ctl/doctor.schema.json").read_text())

CHECKS = SCHEMA["$defs"]["check"]["properties"]["check"]["enum"]


class Told:
    """One answer, from the result of running it."""

    def __init__(self, result):
        assert result.stdout, result.stderr
        self.answer = json.loads(result.stdout)
        jsonschema.validate(self.answer, SCHEMA)
        self.checks = {check["check"]: check for check in self.answer["checks"]}
        assert list(self.checks) == CHECKS
        self.verdict = self.answer["verdict"]
        verdict = self.verdict
        assert verdict["ok"] == all(verdict[part] for part in ("captured", "core", "delivered"))
        assert result.returncode == (0 if verdict["ok"] else 1)
        assert (verdict["no_core"] is None) == verdict["core"]
        assert verdict["ok"] != bool(self.failed), self.failed
        for check in self.checks.values():
            assert check["state"] in ("warning", "FAIL") or not any(check["mend"].values())
            assert check["state"] != "FAIL" or any(check["mend"].values())

    @property
    def failed(self):
        return {name for name, check in self.checks.items() if check["state"] == "FAIL"}

    def finding(self, name):
        return self.checks[name]["finding"]
