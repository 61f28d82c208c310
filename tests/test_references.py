"""The bibliography is the only place where a reference is written out, and everything that points to it finds it."""

import re
from pathlib import Path

import pytest
import yaml

from semcycle.methods import METHODS, method_class

ROOT = Path(__file__).parents[1]
BIBLIOGRAPHY = ROOT / "docs/references.md"
FOLDERS = ("src", "docs", "recipes", "tests", "benchmarks", "tools", "models")
PAGES = ("README.md", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "mkdocs.yml", "pyproject.toml")
TEXT = {".py", ".md", ".yaml", ".yml", ".json", ".cff", ".toml", ".jinja", ".css", ".js", ".csv", ".txt", ""}

DOI = re.compile(r"\b10\.\d{4,9}/[^\s\"'`<>\],;]+")
ARXIV = re.compile(r"(?:arxiv\.org/(?:abs|pdf|html)/|arxiv[: ]\s*)(\d{4}\.\d{4,5})", re.IGNORECASE)
KEY = re.compile(r"\[([a-z]{2,}(?:19|20)\d\d[a-z]?)\](?!\[)")
LINK = re.compile(r"references\.(?:md|html)#([a-z0-9-]+)")


def texts():
    """Path and content of every text file of the project but the bibliography and this test."""
    for path in sorted(ROOT / name for name in PAGES if (ROOT / name).exists()):
        yield path, path.read_text(encoding="utf-8")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT).parts
            if path.suffix not in TEXT or not path.is_file() or "__pycache__" in inside or "build" in inside:
                continue
            if path not in (BIBLIOGRAPHY, Path(__file__)):
                yield path, path.read_text(encoding="utf-8")


def entries():
    """Key -> the entry's text."""
    parts = re.split(r"^### (\S+)$", BIBLIOGRAPHY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def dois(text):
    """DOIs of a text, without what a sentence or a link puts behind them."""
    found = set()
    for doi in DOI.findall(text):
        doi = doi.rstrip(".")
        while doi.endswith(")") and doi.count(")") > doi.count("("):
            doi = doi[:-1].rstrip(".")
        found.add(doi.split("](")[0].lower())
    return found


def strays(text, held):
    """What of a text's references the bibliography ``held`` does not hold."""
    known_dois, known_arxiv = dois(held), set(ARXIV.findall(held))
    missing = [f"DOI {doi}" for doi in sorted(dois(text) - known_dois)]
    missing += [f"arXiv {number}" for number in sorted(set(ARXIV.findall(text)) - known_arxiv)]
    keys = set(re.findall(r"^### (\S+)$", held, re.MULTILINE))
    missing += [f"key {key}" for key in sorted({*KEY.findall(text), *LINK.findall(text)} - keys)]
    missing += [f"{words!r}: point to a key instead" for words in re.findall(r"\w+ et al\b\.?(?: \(?\d{4})?", text)]
    return missing


def test_everything_cited_is_in_the_bibliography():
    held = BIBLIOGRAPHY.read_text(encoding="utf-8")
    missing = {str(path.relative_to(ROOT)): found for path, text in texts() if (found := strays(text, held))}
    assert not missing, "\n".join(f"{path}: {', '.join(found)}" for path, found in missing.items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see doi:10.1000/made.up.", ["DOI 10.1000/made.up"]),
        ("[x](https://doi.org/10.1016/S1053-8119(09)70884-5)", []),
        ("arXiv 2206.09999", ["arXiv 2206.09999"]),
        ("https://arxiv.org/abs/2103.09094", []),
        ("as [nobody1999] says", ["key nobody1999"]),
        ("as [li2021] says", []),
        ("references.md#nobody1999", ["key nobody1999"]),
        ("Kim et al. 2021", ["'Kim et al. 2021': point to a key instead"]),
    ],
)
def test_a_stray_reference_is_found(text, expected):
    assert strays(text, BIBLIOGRAPHY.read_text(encoding="utf-8")) == expected


def test_entries_are_complete():
    for key, text in entries().items():
        words = " ".join(text.split())
        assert re.search(r"[aA]t source|[sS]econd-hand|not verified at source|CC BY-SA", words), key
        year = re.search(r"\d{4}", key)
        assert year is None or year[0] in words, f"{key}: its year is not in the entry"
        assert len(words) > 60, key


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_names_what_it_implements(name):
    assert method_class(name).paper in entries()


def test_the_paper_has_its_five_authors_everywhere():
    authors = ["Chenxin Li", "Yunlong Zhang", "Jiongcheng Li", "Yue Huang", "Xinghao Ding"]
    entry = " ".join(entries()["li2021"].split())
    assert entry.startswith(", ".join(authors))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (paper,) = [one for one in citation["references"] if "Cycle Translation" in one["title"]]
    assert [f"{one['given-names']} {one['family-names']}" for one in paper["authors"]] == authors
    assert {"type": "doi", "value": "10.48550/arXiv.2103.09094"}.items() <= paper["identifiers"][0].items()


def test_no_text_names_the_wrong_authors():
    wrong = [
        str(path.relative_to(ROOT)) for path, text in texts() if re.search(r"\bKim\b.{0,12}\bAhn\b|Kim et al", text)
    ]
    assert not wrong
