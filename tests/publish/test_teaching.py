"""What a lecturer gets: the citation, the plans, the exam, the tutor's contract."""

import tomllib
from datetime import date
from pathlib import Path

import yaml

from minimistral import paper

ROOT = Path(__file__).resolve().parents[2]


def test_the_citation_is_that_of_this_project():
    """The keys that CFF 1.2.0 demands, and what must agree with pyproject.toml."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["cff-version"] == "1.2.0" and cited["title"].startswith(project["name"])
    assert cited["version"] == project["version"] and cited["license"] == project["license"]
    (reference,) = cited["references"]
    assert {"type", "title", "authors"} <= reference.keys() and len(reference["authors"]) == 18
    assert all({"family-names", "given-names"} == author.keys() for author in reference["authors"])
    assert reference["identifiers"][0]["value"] == f"arXiv:{paper.ARXIV}"
    assert reference["year"] <= date.today().year
