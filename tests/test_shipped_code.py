"""Guards over the source of what is shipped, and over what it requires."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

SHIPPED = [ROOT / "cli.py", *sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]


# Guards over the source of what is shipped


def deprecated_flags(tree: ast.AST) -> list[str]:
    """Lines that ask torchvision for weights as the book does."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and any(keyword.arg == "pretrained" for keyword in node.keywords)
    ]


def lazy_layers(tree: ast.AST) -> list[str]:
    """Lines that use torch's lazy layers, by their names."""
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        names += [node.attr] if isinstance(node, ast.Attribute) else []
        names += [node.id] if isinstance(node, ast.Name) else []
        if any(re.fullmatch(r"(.*\.)?(Lazy[A-Z]\w*|Uninitialized\w+)", name) for name in names):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def torchtext_imports(tree: ast.AST) -> list[str]:
    """Lines that import torchtext, by a statement or by its name in a string."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]
        if any(name.split(".")[0] == "torchtext" for name in names):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def unsafe_loading(tree: ast.AST) -> list[str]:
    """Lines that load weights that do not fit (``strict=False``), or may run code that hides in a file."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        lenient = given.get("strict", "True") != "True" and name != "zip"
        if name.endswith("load_state_dict") and len(node.args) > 1:
            lenient = ast.unparse(node.args[1]) != "True"
        pickled = given.get("weights_only", "True") != "True"
        pickled |= name == "torch.load" and "weights_only" not in given
        if lenient or pickled:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


GUARDS = [deprecated_flags, lazy_layers, torchtext_imports, unsafe_loading]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_code_has_no_lazy_layer_no_torchtext_and_no_unsafe_loading(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [line for guard in GUARDS for line in guard(tree)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        "layer = nn.LazyLinear(10)",
        "from torch.nn import LazyConv2d",
        "weight = nn.parameter.UninitializedParameter()",
        "import torchtext",
        "import torchtext.vocab as v",
        "from torchtext.data import get_tokenizer",
        "importlib.import_module('torchtext.vocab')",
        "net.load_state_dict(state, strict=False)",
        "net.load_state_dict(state, False)",
        "LeNet.load_from_checkpoint(path, strict=False)",
        "torch.load(path, weights_only=False)",
        "torch.load(path)",
        "trainer.fit(model, weights_only=False)",
        "trainer.fit(model, weights_only=trusted)",
        "net = torchvision.models.resnet18(pretrained=True)",
    ],
)
def test_guards_see_what_they_are_for(wrong: str) -> None:
    assert any(guard(ast.parse(wrong)) for guard in GUARDS)


@pytest.mark.parametrize(
    "right",
    [
        "import lazy_loader",
        "for a, b in zip(x, y, strict=False): pass",
        "net.load_state_dict(state, strict=True)",
        "torch.load(path, map_location='cpu', weights_only=True)",
        "text = 'torchtext is not needed'",
    ],
)
def test_guards_let_the_rest_pass(right: str) -> None:
    assert not any(guard(ast.parse(right)) for guard in GUARDS)


def test_requirements_need_no_torchtext_and_leave_new_releases_in() -> None:
    project = PYPROJECT["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=!~ ;]", text)[0] for text in requirements}
    assert "torch" in names
    assert "torchtext" not in names
    # The book's package pins numpy, scipy and pandas to releases that have no wheels for Python 3.12.
    bounded = [text for text in requirements if re.search(r"[<~]|==", text)]
    assert bounded == ["jsonargparse[signatures]>=4.41,<5"]
    assert project["requires-python"] == ">=3.11"
