"""The library keeps its shape: packages import downwards only, torch stays where tensors are, files stay short."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "flanlib"
# From the bottom up, a package or a module of the top folder at a time: each imports from those before it.
ORDER = ("records", "tally", "presets", "paper", "intervals", "store", "pace", "progress", "wheels", "lab",
         "pretrained", "dialects", "text", "sources", "corpus", "training", "benchmarks", "inference", "experiments",
         "report", "checks", "ship", "batch", "bench")  # fmt: skip
TENSORS = ("training", "inference", "experiments", "bench")  # all others import without torch
RANK = {name: rank for rank, name in enumerate(ORDER)}
FILES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN = {
    r"trust_remote_code\s*=\s*True": "runs code from a download",
    r"^\s*(import|from)\s+pickle\b": "pickle runs code when read",
    r"(?<![\w.])eval\(": "runs text as code",
    r"(?<![\w.])random\.seed\(": "global randomness",
    r"\bnp\.random\.(?!default_rng|Generator|SeedSequence|PCG64|BitGenerator)\w+": "global randomness",
}


def module(path):
    """flanlib/lab/world.py -> flanlib.lab.world; a package's __init__ is the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def top(name):
    """flanlib.lab.world -> lab"""
    return name.split(".")[1] if "." in name else ""


def rank(name):
    """The place of a module in the order. A command stands above all: nothing imports it."""
    return len(ORDER) if name.endswith(".__main__") else RANK.get(top(name), -1)


def imports(path):
    """Modules of the library that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            found |= inner if len(inner) == len(node.names) else {node.module, *inner}
    return {name for name in found if name in MODULES}


def by_path(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.relative_to(ROOT).as_posix())


@by_path(FILES)
def test_imports_go_down_the_order_of_packages(path):
    name = module(path)
    if name == "flanlib":
        assert not imports(path), "the package itself imports nothing"
        return
    assert top(name) in RANK, f"{name} stands nowhere in the order: add it to ORDER"
    for target in imports(path):
        assert rank(target) <= rank(name), f"{name} imports {target}, which stands above it"


def test_packages_say_what_they_are_for_and_what_to_read_first():
    for path in PACKAGE.glob("*/__init__.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 40, path
        assert "first" in ast.get_docstring(ast.parse("\n".join(lines))), path


def test_no_module_imports_itself_through_others():
    graphlib.TopologicalSorter({name: imports(path) - {name} for name, path in MODULES.items()}).prepare()


@by_path(FILES)
def test_files_can_be_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


@by_path(FILES)
def test_nothing_forbidden_is_used(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for pattern, why in FORBIDDEN.items():
            assert not re.search(pattern, line), f"{path.name}:{number}: {why}: {line.strip()}"


def test_settings_are_read_in_one_place():
    readers = [path.name for path in FILES if re.search(r"environ[^=\n]*FLAN_(?!READ_LOG)", path.read_text())]
    assert set(readers) <= {"presets.py", "batch.py"}, "the runner passes settings on, and nobody else touches them"


def test_layers_without_tensors_import_without_torch():
    light = [name for name in MODULES if name == "flanlib" or top(name) not in TENSORS]
    code = f"""
import importlib, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is not to be imported here")

sys.meta_path.insert(0, NoTorch())
failed = {{}}
for name in {light!r}:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{{type(error).__name__}}: {{error}}"
print(failed)
sys.exit(bool(failed))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("x = np.random.rand(3)", True),
        ("rng = np.random.default_rng(seed)", False),
        ("def f(rng: np.random.Generator):", False),
        ("random.seed(0)", True),
        ("model.eval()", False),
        ("y = eval(text)", True),
        ("import pickle", True),
        ("load(name, trust_remote_code=True)", True),
    ],
)
def test_the_patterns_catch_what_they_are_for(line, refused):
    assert any(re.search(pattern, line) for pattern in FORBIDDEN) == refused
