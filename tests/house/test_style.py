"""The house's habits that a machine can see."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("api", "billing", "finance", "ledger", "migrations", "outbound", "rails", "sandbox", "webhooks")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
EVERYTHING = sorted(
    path
    for room in (*ROOMS, "tests", "docs", "bench")
    for path in (ROOT / room).rglob("*")
    if path.suffix in {".py", ".md", ".sql", ".toml", ".css", ".js", ".json"}
) + [path for path in ROOT.iterdir() if path.is_file() and path.suffix in {".md", ".toml", ".lock"}]

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "manager", "service", "handler", "handlers", "managers"}
HOSTS = re.compile(r"pypi\." + r"org|python" + r"hosted|registry\.npm" + r"js|deb\.deb" + r"ian|proxy\.gol" + r"ang")
MACHINE_PATHS = re.compile(r"(^|[^A-Za-z0-9_.])/(wo" + r"rk|fa" + r"rm)/")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|NotImplemented" + r"Error)\b")


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("room", ROOMS)
def test_the_first_lines_of_a_room_are_its_map(room):
    docstring = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))
    assert docstring
    modules = {p.stem for p in (ROOT / room).glob("*.py")} | {
        p.name for p in (ROOT / room).iterdir() if (p / "__init__.py").exists()
    }
    unnamed = {name for name in modules - {"__init__", "__main__", "env"} if not re.search(rf"\b{name}\b", docstring)}
    assert not unnamed


def test_no_file_is_longer_than_a_reader_wants_to_read():
    python = [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    long = {str(p.relative_to(ROOT)): n for p in python if (n := len(p.read_text().splitlines())) > FILE_LINES_MAX}
    assert not long


def test_no_function_is_longer_than_a_screen():
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in SOURCES
        for node in functions(path)
        if node.end_lineno is not None and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    }
    assert not long


def test_no_file_has_a_name_that_says_nothing():
    assert not {str(path.relative_to(ROOT)) for path in SOURCES if path.stem in FORBIDDEN_NAMES}


def test_nothing_is_left_unfinished():
    assert not {str(path.relative_to(ROOT)) for path in SOURCES if UNFINISHED.search(path.read_text(encoding="utf-8"))}


def test_no_registry_host_and_no_path_of_a_machine_stands_in_a_file():
    forbidden = re.compile(f"{HOSTS.pattern}|{MACHINE_PATHS.pattern}")
    found = {
        str(path.relative_to(ROOT)): match.group()
        for path in EVERYTHING
        if (match := forbidden.search(path.read_text(encoding="utf-8")))
    }
    assert not found


@pytest.mark.parametrize("room", ROOMS)
def test_the_environment_is_read_in_the_settings_only(room):
    readers = {
        str(path.relative_to(ROOT))
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"os\.(environ\.get|getenv)|environ\[[^\]]+\](?!\s*=)", path.read_text(encoding="utf-8"))
    }
    assert readers <= {"api/settings.py"}


@pytest.mark.parametrize("room", ["billing", "finance", "ledger", "outbound", "rails", "webhooks"])
def test_only_the_doors_read_the_process_clock(room):
    readers = {
        str(path.relative_to(ROOT))
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"datetime\.now\(|utcnow\(|time\.time\(|time\.monotonic\(", path.read_text(encoding="utf-8"))
    }
    assert not readers


def test_floats_never_carry_money():
    suspicious = {
        str(path.relative_to(ROOT))
        for room in ("billing", "ledger")
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"\bfloat\b|Numeric|Decimal", path.read_text(encoding="utf-8"))
        and "never as floats" not in path.read_text(encoding="utf-8")
        and path.name != "lane.py"  # whose seconds are no money
    }
    assert not suspicious
