"""What the documents and the examples say is there: tests, settings, links."""

import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / name for name in ("README.md", "docker/README.md", "k8s/README.md", "task-defs/README.md",
                                      "tests/README.md", "tests/bench/README.md", "tests/fuzz/README.md")]
EXAMPLES = sorted([*ROOT.glob("k8s/*.yaml"), *ROOT.glob("task-defs/*.json")])

# A row of src/init/settings.c: option, environment, section and key of the ini file.
SETTING = re.compile(r'^    \{(NULL|"[a-z-]+"), (NULL|"[A-Z0-9_]+"), (?:NULL|"[a-z0-9]*"), (NULL|"[a-z_]+"),', re.M)


def settings():
    rows = SETTING.findall((ROOT / "src/init/settings.c").read_text())
    assert len(rows) > 20
    return [[None if word == "NULL" else word.strip('"') for word in row] for row in rows]


@functools.cache
def sources():
    found = [p for kind in ("e2e/*.py", "docker/*.py", "unit/*.c") for p in (ROOT / "tests").glob(kind)]
    return {path.relative_to(ROOT / "tests"): path.read_text() for path in found}


def is_defined(name, text):
    begin = re.escape(name.removesuffix("…")) + ("" if name.endswith("…") else r"\(")
    return re.search(rf"^(?:def test_|static void |void ){begin}", text, re.M)


def test_every_test_that_is_named_is_there():
    words = re.findall(r"`([^`\n]+)`", (ROOT / "tests/README.md").read_text())
    names = [word for word in words if re.fullmatch(r"[a-z0-9_]+…?", word) and word.count("_") > 1]
    assert len(names) > 60
    assert [name for name in names if not any(is_defined(name, text) for text in sources().values())] == []


def test_a_test_is_where_the_table_of_faults_says():
    text = (ROOT / "tests/README.md").read_text()
    table = text[text.index("## The faults of delivery"):text.index("## Faults, each with its test")]
    cells = [re.findall(r"`([^`]+)`", row.split("|")[2]) for row in table.splitlines() if row.startswith("| ")][1:]
    assert len(cells) > 20 and all(cells)
    for cell in cells:
        for word in cell:
            if word.endswith((".py", ".c")):
                path = next(p for p in (Path("e2e", word), Path(word)) if (ROOT / "tests" / p).exists())
            else:
                assert is_defined(word, sources()[path]), f"{word} in {path}"


def test_every_setting_is_in_the_readme_and_in_the_help(run):
    readme, told = (ROOT / "README.md").read_text(), run("--help").stdout
    for option, variable, key in settings():
        if option:
            assert f"`--{option} " in readme and f"--{option} " in told
        if variable:
            assert f"`{variable}`" in readme and variable in told
        if key:
            assert re.search(rf"`(\[s3\] )?{key}`", readme), key


@pytest.mark.parametrize("path", [*DOCUMENTS, *EXAMPLES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_that_is_told_of_is_there(path):
    known = {variable for _, variable, _ in settings()} | {"COREINIT_CORECTL"}
    of_the_build = {"COREINIT_BUILD"}
    told = set(re.findall(r"\b(?:COREINIT|S3)_[A-Z0-9_]*[A-Z0-9]\b", path.read_text()))
    assert told - known - of_the_build == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path):
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if link.startswith("https:"):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if anchor:
            text = (target / "README.md" if target.is_dir() else target).read_text()
            headings = re.findall(r"^#+ (.*)$", text, re.M)
            assert anchor in [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings], link
