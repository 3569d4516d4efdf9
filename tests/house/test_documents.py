import re
from pathlib import Path

import pytest

from docs import generate, served

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("name", sorted(generate.DOCUMENTS))
def test_a_document_that_is_drawn_from_code_is_as_the_code_draws_it(name):
    drawn = generate.DOCUMENTS[name]()
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == drawn, "run `python -m docs.generate`"


@pytest.fixture(scope="module")
def served_documents():
    return served.documents()


@pytest.mark.parametrize("name", ["llms.txt", "skill.md", "cli.md", "openapi.json"])
def test_what_the_service_serves_to_agents_is_as_its_golden_file_has_it(served_documents, name):
    golden = (served.FOLDER / name).read_text(encoding="utf-8")
    assert golden == served_documents[name], "run `python -m docs.generate`, and read what has changed"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_points_to_exists(document):
    text = document.read_text(encoding="utf-8")
    linked = {target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target}
    missing = {target for target in linked - {""} if not (document.parent / target).exists()}
    named = set(
        re.findall(r"`((?:api|bench|billing|docs|ledger|migrations|rails|sandbox|tests|webhooks)/[\w./-]+)`", text)
    )
    missing |= {path for path in named if not (ROOT / path).exists()}
    assert not missing


def test_every_test_that_a_document_names_exists():
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    existing = set(re.findall(r"def (test_\w+)\(", sources))
    named = {
        name for document in DOCUMENTS for name in re.findall(r"`(test_\w+)`", document.read_text(encoding="utf-8"))
    }
    assert named <= existing, named - existing


def test_every_decision_is_listed():
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in sorted(folder.glob("0*.md")) if path.name not in index] == []
