"""The structure of the package: who may import whom, and what importing it costs."""

import ast
import importlib
from pathlib import Path

import fdsl_gpu

PACKAGE = Path(fdsl_gpu.__file__).parent
KERNELS = PACKAGE.parent / "kernels"


def imported_modules(path):
    """Modules of this project that a file imports anywhere, functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in names if name.split(".")[0] == "fdsl_gpu"}


def module_name(path):
    relative = path.relative_to(PACKAGE.parent).with_suffix("")
    return ".".join(part for part in relative.parts if part != "__init__")


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def test_imports_point_one_way():
    arrows = {
        name: {other for other in imported_modules(path) if other in MODULES and other != name}
        - {"fdsl_gpu"}
        for name, path in MODULES.items()
        if name != "fdsl_gpu"
    }
    visited, path = set(), []

    def visit(name):
        assert name not in path, f"circle of imports: {' -> '.join([*path, name])}"
        if name in visited:
            return
        path.append(name)
        for other in sorted(arrows[name]):
            visit(other)
        path.pop()
        visited.add(name)

    for name in sorted(arrows):
        visit(name)


LAYERS = [
    ("fdsl_gpu.rng", "fdsl_gpu.formulas"),
    ("fdsl_gpu.formulas", "fdsl_gpu.backends"),
    ("fdsl_gpu.formulas", "fdsl_gpu.datasets"),
    ("fdsl_gpu.backends", "fdsl_gpu.datasets"),
    ("fdsl_gpu.datasets", "fdsl_gpu.render"),
    ("fdsl_gpu.render", "fdsl_gpu.stream"),
    ("fdsl_gpu.stream", "fdsl_gpu.loader"),
    ("fdsl_gpu.loader", "fdsl_gpu.timm"),
    ("fdsl_gpu.timm", "fdsl_gpu.pretrain"),
    ("fdsl_gpu.pretrain", "fdsl_gpu.cli"),
]


def test_lower_layers_do_not_know_the_upper_ones():
    def within(name, layer):
        return name == layer or name.startswith(layer + ".")

    for lower, upper in LAYERS:
        for name, path in MODULES.items():
            if within(name, lower):
                wrong = {other for other in imported_modules(path) if within(other, upper)}
                assert not wrong, f"{name} imports {wrong}"


def test_kernels_know_only_triton_and_each_other():
    for path in KERNELS.rglob("*.py"):
        wrong = {name for name in imported_modules(path) if "fdsl_gpu.kernels" not in name}
        assert not wrong - {"fdsl_gpu"}, f"{path} imports {wrong}"


def test_everything_in_all_exists():
    for name in MODULES:
        if name.endswith("timm_plugin"):
            continue  # importing it patches timm
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", []):
            assert hasattr(module, public), f"{name}.{public}"


def test_importing_the_package_imports_neither_triton_nor_numba_nor_timm(run_python):
    loaded = run_python(
        "import sys, fdsl_gpu; print([m for m in ('triton', 'numba', 'timm') if m in sys.modules])"
    )
    assert loaded.strip() == "[]"
