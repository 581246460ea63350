"""The house: who imports whom, who may do what, and how long things are. Reads syntax trees."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "search",
    "engine",
    "evaluation",
    "vision",
    "training",
    "deploy",
    "reports",
    "baselines",
    "benchmarks",
    "examples",
)
PATHS = sorted([*ROOT.glob("*.py"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.py"))])
MODULES = {str(path.relative_to(ROOT)): path for path in PATHS}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
OURS = {Path(name).parts[0].removesuffix(".py") for name in MODULES}
SIDE_EFFECTS = {"os", "pathlib", "time", "logging", "sys", "io", "shutil", "subprocess", "signal"}
MAX_MODULE, MAX_FUNCTION = 320, 60  # lines

# What a module may import of ours, the first match by its path counts. `None`: whatever it needs.
_GROUND = {"engine.contract", "engine.callbacks", "engine.wording", "search", "utils"}
_STORAGE = {"engine.storage", "engine.cli", *_GROUND}
MAY_IMPORT = {
    "utils.py": set(),
    "search/": {"search", "utils"},
    "engine/cli/": {"engine.cli", *_GROUND},
    "engine/storage/": _STORAGE,
    "engine/workers/": {"engine.workers", *_STORAGE},
    "engine/watching/": {"engine.watching", "engine.workers", *_STORAGE},
    "engine/": {"search", "utils"},
    "evaluation/": {"evaluation", "engine", "search", "utils"},
    "vision/": {"vision", "utils"},
    "cnn.py": set(),
    "training/": {"training", "cnn", "utils"},
    "target.py": {"cnn", "training", "vision", "utils"},
    "reports/": {"reports", "evaluation", "search", "engine", "utils"},
    "deploy/": {"deploy", "cnn", "training", "engine", "evaluation", "utils"},
    "predict.py": set(),
    "optimizer.py": None,
    "main.py": None,
    "baselines/": None,
    "benchmarks/": None,
    "examples/": None,
}
MAY_IMPORT_TORCH = ("target.py", "training/", "benchmarks/")


def functions(tree):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def imports(tree):
    """Dotted names of all that is imported anywhere in a module, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def packages(tree):
    return {name.partition(".")[0] for name in imports(tree)}


def dotted(node):
    """'np.random.normal' for the expression, '' for what is no chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


@functools.cache
def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def by_name(prefix):
    return {name: tree for name, tree in TREES.items() if name.startswith(prefix)}


def test_all_parts_of_the_house_are_read():
    assert {"search", "engine", "vision", "cnn", "target", "utils", "optimizer", "main"} <= OURS
    assert {"deploy", "predict"} <= OURS
    for name in MODULES:
        assert any(name.startswith(prefix) for prefix in MAY_IMPORT), f"no rule for {name}"


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
    allowed = next(MAY_IMPORT[prefix] for prefix in MAY_IMPORT if name.startswith(prefix))
    if allowed is not None:
        ours = {path for path in imports(TREES[name]) if path.partition(".")[0] in OURS}
        wrong = [
            path for path in ours if not f"{path}.".startswith(tuple(f"{p}." for p in allowed))
        ]
        assert not wrong, f"{name} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("name", MODULES)
def test_torch_is_imported_where_networks_are(name):
    if not name.startswith(MAY_IMPORT_TORCH):
        found = packages(TREES[name]) & {"torch", "torchvision", "safetensors"}
        assert not found, f"{name} imports {found}"


@pytest.mark.parametrize("name", MODULES)
def test_what_only_an_export_needs_is_imported_by_it(name):
    """ONNX may be absent: it is imported inside functions only."""
    tree = TREES[name]
    if not name.startswith(("deploy/", "predict.py", "benchmarks/problems/")):
        assert not packages(tree) & {"onnx", "onnxruntime"}, name
    top = ast.Module(
        [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], []
    )
    assert not packages(top) & {"onnx", "onnxruntime"}, name


def test_prediction_needs_three_packages():
    """predict.py is copied to machines that have nothing else."""
    foreign = packages(TREES["predict.py"]) - sys.stdlib_module_names
    assert foreign == {"onnxruntime", "numpy", "PIL"}


def test_engine_and_search_know_no_network_even_by_string():
    for name, tree in {**by_name("engine/"), **by_name("search/")}.items():
        dynamic = {"importlib.import_module", "__import__", "exec", "eval"}
        assert not dynamic & {dotted(call.func) for call in calls(tree)}, name


def test_nobody_imports_main():
    for path in [*MODULES.values(), *(ROOT / "tests").glob("*.py")]:
        if not path.name.startswith(("command_line", "test_com", "test_main")):
            assert "main" not in packages(ast.parse(path.read_text())), path


def test_only_commands_and_what_uses_them_import_the_optimizer():
    for name, tree in TREES.items():
        if not name.startswith(("baselines/", "benchmarks/", "examples/")):
            assert "optimizer" not in packages(tree), name


def test_only_main_opens_the_test_split():
    for name, tree in TREES.items():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {name.rpartition(".")[2] for name in imports(tree)}
        if not name.startswith("vision/"):
            assert ("open_test" in names) == (name == "main.py"), name
            if name != "main.py":  # nor by another way
                assert not {"train_test", "_open", "list_files"} & names or name == "target.py"


@pytest.mark.parametrize("name", by_name("search/"))
def test_deciding_has_no_clock_no_output_and_writes_nothing(name):
    tree = TREES[name]
    foreign = packages(tree) & SIDE_EFFECTS
    assert foreign <= ({"pathlib"} if name == "search/space.py" else set()), foreign
    used = {dotted(call.func) for call in calls(tree)}
    assert not used & {"print", "open", "input", "exec", "eval"}
    written = {"write_text", "write_bytes", "open", "mkdir", "touch", "unlink", "rename"}
    assert not {name.rpartition(".")[2] for name in used} & written
    names = {name.rpartition(".")[2] for name in imports(tree)}
    assert not names & {"write_json", "write_text", "read_json"}, "files are for engine/"


def test_printing_is_for_the_commands():
    for prefix in ("engine/", "vision/", "training/", "cnn.py", "target.py", "utils.py"):
        for name, tree in by_name(prefix).items():
            if name == "engine/cli/command.py":  # the end of every command
                continue
            assert "print" not in {dotted(call.func) for call in calls(tree)}, name


ALLOWED_RANDOM = {"default_rng", "Generator", "RandomState", "SeedSequence", "PCG64"}
# Methods and functions of torch that draw; each takes a generator of its own.
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "normal_", "uniform_", "bernoulli"}
DRAWS |= {"bernoulli_", "multinomial", "random_", "exponential_", "log_normal_", "cauchy_"}
DRAWS |= {"rand_like", "randn_like", "randint_like", "geometric_"}


@pytest.mark.parametrize("name", MODULES)
def test_no_global_random_stream(name):
    tree = TREES[name]
    assert not packages(tree) & {"random", "secrets"}, "use utils.derive_rng"
    for node in ast.walk(tree):
        parts = dotted(node).split(".") if isinstance(node, ast.Attribute) else []
        if parts[:2] in (["np", "random"], ["numpy", "random"]) and len(parts) > 2:
            assert parts[2] in ALLOWED_RANDOM, f"{name}:{node.lineno}: {'.'.join(parts)}"
        forbidden = (["torch", "manual_seed"], ["torch", "seed"], ["torch", "random"])
        assert parts[:2] not in forbidden, f"{name}:{node.lineno}"
        assert parts[:3] != ["torch", "cuda", "manual_seed"], f"{name}:{node.lineno}"
    for imported in imports(tree):
        assert not imported.startswith("numpy.random."), f"{name} imports {imported}"
    for call in calls(tree):
        path = dotted(call.func)
        if path == "np.random.default_rng" or path == "np.random.RandomState":
            assert call.args, f"{name}:{call.lineno}: a generator without a seed"
        if packages(tree) & {"torch"} and path.rpartition(".")[2] in DRAWS and "." in path:
            given = {keyword.arg for keyword in call.keywords}
            assert "generator" in given, f"{name}:{call.lineno}: {path} without a generator"


def test_the_dropout_of_torch_is_not_used():
    for name, tree in TREES.items():
        names = {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not {n for n in names if re.search(r"nn\.(functional\.)?[Dd]ropout", n)}, name


def test_the_clock_has_no_part_in_decisions():
    allowed = (
        "engine/",
        "training/cost.py",
        "target.py",
        "deploy/session.py",
        "benchmarks/",
        "baselines/",
        "reports/",
    )
    for name, tree in TREES.items():
        if not name.startswith(allowed):
            assert not packages(tree) & {"time", "datetime"}, name


@pytest.mark.parametrize("name", MODULES)
def test_sizes(name):
    lines = MODULES[name].read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_MODULE, f"{name} has {lines} lines: it is two things"
    for function in functions(TREES[name]):
        length = function.end_lineno - function.lineno + 1
        assert length <= MAX_FUNCTION, f"{name}: {function.name} has {length} lines"


@pytest.mark.parametrize("name", MODULES)
def test_public_things_have_docstrings(name):
    tree = TREES[name]
    assert ast.get_docstring(tree), f"{name} has no docstring"
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    for node in public:
        assert ast.get_docstring(node), f"{name}: {node.name} has no docstring"
        for method in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                inherited = method.name == "forward" or is_property(method)
                assert inherited or ast.get_docstring(method), f"{name}: {node.name}.{method.name}"


def is_property(method):
    return any(dotted(decorator) == "property" for decorator in method.decorator_list)


# An example is a script, which says where the packages are before it imports them.
@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("examples/")])
def test_nothing_happens_at_import_time(name):
    for node in TREES[name].body:
        main = isinstance(node, ast.If) and "__main__" in ast.dump(node.test)
        plain = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        kinds = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Assign
        kinds |= ast.AnnAssign | ast.AugAssign
        assert main or plain or isinstance(node, kinds), f"{name}:{node.lineno}"


def test_no_mutable_defaults_and_no_bare_except():
    for name, tree in TREES.items():
        for function in functions(tree):
            defaults = [*function.args.defaults, *function.args.kw_defaults]
            mutable = ast.List | ast.Dict | ast.Set
            assert not any(isinstance(value, mutable) for value in defaults), function.name
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.ExceptHandler) and node.type is None), name


@pytest.mark.parametrize("name", MODULES)
def test_files_that_are_named_exist(name):
    text = MODULES[name].read_text(encoding="utf-8")
    for path in re.findall(
        r"\b(?:tests|search|engine|evaluation|vision|training|deploy|reports|configs|docs)/[\w/]+"
        r"\.(?:py|json|md)\b",
        text,
    ):
        assert (ROOT / path).exists(), f"{name} names {path}, which is not there"


def test_the_arguments_are_right_before_torch_is_loaded():
    """The commands answer a wrong flag at once: no torch is loaded for that."""
    code = "import sys, main, optimizer; optimizer.main(['--seed', 'x']);"
    code += "sys.exit('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr == "optimizer.py: --seed: 'x' is not a whole number\n"


def tracked():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not in a git repository")
    return [name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_repository_stands_alone():
    """Nothing but .ci/run may know of the images that lie beside the repository."""
    word = "shared/" + "micro"
    for name in tracked():
        assert name == ".ci/run" or word.encode() not in (ROOT / name).read_bytes(), name


def test_no_merge_was_left_half_done():
    marks = [side * 7 + b" " for side in (b"<", b">")]
    for name in tracked():
        lines = (ROOT / name).read_bytes().splitlines()
        assert not any(line.startswith(mark) for line in lines for mark in marks), name
