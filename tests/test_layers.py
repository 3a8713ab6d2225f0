"""Imports go down only, and a ConfigDict is seen only where runs are put together."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "gazax"
SHARED = {"typing", "config"}
MAY_IMPORT = {
    "ops": set(),
    "losses": {"ops"},
    "metrics": set(),
    "models": {"ops"},
    "methods": {"losses", "models", "ops"},
    "data": {"ops"},
    "train": {"methods", "losses", "data", "hardware"},
    "eval": {"train", "methods", "metrics", "data", "models", "ops"},
    "export": {"methods", "models", "ops"},
    "hardware": set(),
    "page": {"eval", "metrics", "train"},
    "experiment": {"eval", "train", "methods", "data", "models", "export", "hardware"},
}
PURE = ("ops", "losses", "metrics")


def imports(path: pathlib.Path) -> set[str]:
    """Full names of everything that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def folder_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "gazax" and len(parts) > 1 else None


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_imports_go_down_only(folder):
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        wanted = {folder_of(name) for name in imports(path)} - {None, folder}
        wanted = {name for name in wanted if not name.startswith("__")}
        allowed = MAY_IMPORT[folder] | (SHARED if folder not in PURE else {"typing"})
        assert wanted <= allowed, f"{path.relative_to(ROOT)} imports {sorted(wanted - allowed)}"


def test_every_folder_has_its_row():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders - SHARED == set(MAY_IMPORT)


def test_what_all_may_import_imports_nothing_of_the_library():
    for path in (PACKAGE / "typing.py", *sorted((PACKAGE / "config").rglob("*.py"))):
        wanted = {folder_of(name) for name in imports(path)} - {None} - SHARED
        assert not wanted, f"{path.relative_to(ROOT)} imports {sorted(wanted)}"


def test_root_holds_commands_only():
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", *SHARED}
    for name in files:
        assert "config_lib.run(main" in (PACKAGE / f"{name}.py").read_text(), name


@pytest.mark.parametrize("folder", PURE)
def test_pure_layers_know_no_flax_config_or_file(folder):
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        tops = {name.split(".")[0] for name in imports(path)}
        assert not tops & {"flax", "ml_collections", "absl", "os", "pathlib", "etils"}, path


def test_config_dict_is_seen_where_runs_are_put_together_only():
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent == PACKAGE or path.parent.name in ("config", "experiment"):
            continue
        assert not any(name.startswith("ml_collections") for name in imports(path)), path


def test_configs_import_gazax_config_only():
    for path in sorted((ROOT / "configs").rglob("*.py")):
        names = imports(path)
        wanted = {name for name in names if not name.startswith(("gazax.config", "ml_collections"))}
        assert not wanted, f"{path} imports {wanted}"
