"""The house's rules, read off the sources: imports, sizes, widths. Nothing is imported or run.

Each test fails with the list of what breaks its rule.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "adb_core"
NAME = PACKAGE.name

FILE_LINES, FUNCTION_LINES, PARAMETERS, COLUMNS = 300, 45, 7, 100
ROOM_SHARE = 0.22
DRAWINGS = {"toyworld/subjects.py", "toyworld/props.py", "toyworld/places.py"}
CODE = ("adb_core", "benchmarks", "notebooks/src", "tests", "tools")

# Arrows point down this list: a module imports from its own line and from those below it.
LAYERS = (
    ("__main__", "app", "widgets", "teaching"),
    ("study", "beyond"),
    ("plots",),
    ("preference",),
    ("shares", "recording", "metrics"),
    ("generation", "personalization"),
    ("sampling", "result", "model_card"),
    ("fallback", "trackers"),
    ("training",),
    ("reports",),
    ("losses", "map_losses", "text_losses"),
    ("checkpoint", "tiers", "passes"),
    ("sharding",),
    ("learner", "records", "options", "optimizers", "offload", "encoding", "targets"),
    ("lora", "embeddings"),
    ("engine",),
    ("recipes", "regularizer", "attention", "maps", "concept_token", "words", "drift", "judges"),
    ("people",),
    ("base",),
    ("families",),
    ("seam", "loading"),
    ("explaining", "concept"),
    ("models", "photos", "captions"),
    ("provenance",),
    ("images",),
    ("pictures",),
    ("system",),
    ("__init__",),  # the version
)
# The bundled data's makers stand beside the layers; these alone know that there is a toy world.
WORLD = ("toyworld", "tinymodel", "pretraining")
LOADERS = {
    "adb_core.loading",  # base.py's: where the bundled model lies, and whether it is whole
    "adb_core.judges",  # metrics': the models that judge its pictures
    "adb_core.teaching.world",  # the notebooks': scenes with their captions and masks
}


def sources() -> dict[str, tuple[Path, ast.Module]]:
    """Module name -> its path and syntax tree, for every module of the package."""
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = (path, ast.parse(path.read_text(encoding="utf-8")))
    return modules


SOURCES = sources()


def base_of(node: ast.ImportFrom, name: str, path: Path) -> str:
    """The module that an ``from ... import`` names, with its dots resolved."""
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    package = parts if path.name == "__init__.py" else parts[:-1]
    above = package[: len(package) - (node.level - 1)]
    return ".".join([*above, *(node.module.split(".") if node.module else [])])


def imports_of(name: str) -> Iterator[str]:
    """Modules of the package that a module imports anywhere: lazily and for types too."""
    path, tree = SOURCES[name]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node, name, path)
            targets = [f"{base}.{alias.name}" for alias in node.names]
            targets = [t if t in SOURCES else base for t in targets]
        else:
            continue
        yield from (t for t in targets if t in SOURCES and t != name)


GRAPH = {name: set(imports_of(name)) for name in SOURCES}


def room(module: str) -> str:
    """The first name below the package: a folder, or a file of the method."""
    return module.split(".")[1] if "." in module else "__init__"


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """("path:line", function) of every function of the package."""
    for path, tree in SOURCES.values():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def listed(breaches: list[str], rule: str) -> None:
    """Fail with one line a breach."""
    if breaches:
        pytest.fail(f"{rule}:\n  " + "\n  ".join(breaches), pytrace=False)


# ---------------------------------------------------------------- imports


def circles(graph: dict[str, set[str]]) -> list[str]:
    """What is left when modules that import nothing, or that nobody imports, are taken away."""
    left = {name: set(targets) for name, targets in graph.items()}
    while True:
        used = set().union(*left.values()) if left else set()
        ends = {name for name, targets in left.items() if not targets or name not in used}
        if not ends:
            return [f"{name} imports {', '.join(sorted(t))}" for name, t in sorted(left.items())]
        left = {name: targets - ends for name, targets in left.items() if name not in ends}


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [
        "b imports c",
        "c imports b",
    ]


def test_the_walk_sees_lazy_and_type_only_imports():
    # arguments.py imports checkpoint inside a function, and Concept for types alone.
    assert {f"{NAME}.checkpoint", f"{NAME}.concept"} <= GRAPH[f"{NAME}.app.arguments"]


def test_no_import_circles():
    listed(circles(GRAPH), "import circles, lazy and type-only imports included")


def test_arrows_point_one_way():
    height = {name: -number for number, names in enumerate(LAYERS) for name in names}
    breaches = []
    for name, targets in GRAPH.items():
        here = room(name)
        if here in WORLD or here == "__init__":
            continue
        if here not in height:
            breaches.append(f"{name} has no layer: give it one in LAYERS")
            continue
        for target in sorted(targets):
            there = room(target)
            if there in WORLD:
                if name not in LOADERS:
                    breaches.append(f"{name} imports {target}: only {sorted(LOADERS)} may")
            elif height.get(there, 0) > height[here]:
                breaches.append(f"{name} imports {target}, which stands above it")
    listed(breaches, "arrows that point up")


def test_the_world_stands_below_what_people_touch():
    upper = {"__main__", "app", "widgets", "teaching"}
    breaches = [
        f"{name} imports {target}"
        for name, targets in GRAPH.items()
        for target in sorted(targets)
        if (room(name) in WORLD and room(target) in upper)
        or (room(name) == "tinymodel" and room(target) == "pretraining")
        or (room(name) == "toyworld" and room(target) not in ("toyworld", "system", "pictures"))
    ]
    listed(breaches, "imports of the world that point up")


def test_the_world_draws_without_torch():
    breaches = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for name, (path, tree) in SOURCES.items()
        if room(name) == "toyworld"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(a.name.startswith("torch") for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"))
    ]
    listed(breaches, "torch in the toy world")


# ---------------------------------------------------------------- sizes


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_are_short():
    breaches = [
        f"{path.relative_to(ROOT)}: {lines_of(path)} lines"
        for path, _ in SOURCES.values()
        if lines_of(path) > FILE_LINES and str(path.relative_to(PACKAGE).as_posix()) not in DRAWINGS
    ]
    listed(breaches, f"files over {FILE_LINES} lines")


def test_functions_fit_on_a_screen():
    breaches = [
        f"{where} {node.name}: {length} lines"
        for where, node in functions()
        if (length := node.end_lineno - node.lineno + 1) > FUNCTION_LINES
    ]
    listed(breaches, f"functions over {FUNCTION_LINES} lines, docstring included")


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether typer calls it: every parameter is an option, given as Annotated or options.X."""
    every = [*node.args.args, *node.args.kwonlyargs]
    texts = [ast.unparse(a.annotation) for a in every if a.annotation is not None]
    return len(texts) == len(every) and all(
        text.startswith(("Annotated[", "o.", "options.")) for text in texts
    )


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many it takes, self and cls apart."""
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    names += [a.arg for a in (node.args.vararg, node.args.kwarg) if a is not None]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_functions_take_few_parameters():
    breaches = [
        f"{where} {node.name}: {parameters(node)} parameters"
        for where, node in functions()
        if parameters(node) > PARAMETERS and not is_command(node)
    ]
    listed(breaches, f"functions with over {PARAMETERS} parameters, commands apart")


def test_lines_are_narrow():
    breaches = [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} columns"
        for folder in CODE
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > COLUMNS
    ]
    listed(breaches, f"lines over {COLUMNS} columns")


def test_no_room_is_the_whole_house():
    """Rooms are the package's folders; the method's own files are the street between them."""
    lines: dict[str, int] = {}
    for name, (path, _) in SOURCES.items():
        key = room(name) if (PACKAGE / room(name)).is_dir() else "the method's files"
        lines[key] = lines.get(key, 0) + lines_of(path)
    total = sum(lines.values())
    lines.pop("the method's files")
    breaches = [
        f"{name}: {count} of {total} lines, {count / total:.1%}"
        for name, count in lines.items()
        if count > ROOM_SHARE * total
    ]
    listed(breaches, f"rooms over {ROOM_SHARE:.0%} of the package")


# ---------------------------------------------------------------- exceptions


def test_every_type_ignore_has_a_reason():
    """As in ``# type: ignore[override]  # diffusers passes keywords``."""
    pattern = re.compile(r"#\s*type:\s*ignore(?!\[[\w, -]+\]\s+# \w)")
    breaches = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path, _ in SOURCES.values()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    listed(breaches, "# type: ignore without a code and a reason")


def test_no_module_is_named_as_one_of_the_standard_library():
    import sys

    breaches = [
        str(path.relative_to(ROOT))
        for path, _ in SOURCES.values()
        if path.parent == PACKAGE and path.stem in sys.stdlib_module_names - {"__main__"}
    ]
    listed(breaches, "modules that shadow the standard library's")
