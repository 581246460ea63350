"""The architecture, read from syntax trees: imports, side effects, and lengths."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stubs import ROOT

FOLDERS = ("search", "engine", "evaluation", "vision", "training", "deploy", "reports")
FOLDERS += ("baselines", "benchmarks", "examples")
PATHS = sorted([*ROOT.glob("*.py"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.py"))])
MODULES = {str(path.relative_to(ROOT)): path for path in PATHS}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
OURS = {Path(name).parts[0].removesuffix(".py") for name in MODULES}
SIDE_EFFECTS = {"os", "pathlib", "time", "logging", "sys", "io", "shutil", "subprocess", "signal"}
SIDE_EFFECTS |= {"datetime"}
MAX_MODULE, MAX_FUNCTION = 320, 60  # lines

# Project imports that a module may use; the first match of its path counts. `None`: any.
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
    "evaluation/": {"evaluation", "engine", "search", "utils", "vision.metrics"},
    "vision/": {"vision", "utils", "predict"},
    "cnn.py": set(),
    "training/": {"training", "cnn", "utils"},
    "target.py": {"cnn", "training", "vision", "utils"},
    "reports/": {"reports", "evaluation", "search", "engine", "utils", "predict"},
    "deploy/": {"deploy", "cnn", "training", "engine", "evaluation", "utils"},
    "predict.py": set(),
    "optimizer.py": None,
    "main.py": None,
    "baselines/": None,
    "benchmarks/": None,
    "examples/": None,
}
MAY_IMPORT_TORCH = ("target.py", "training/", "benchmarks/")


@functools.cache
def nodes(tree):
    return list(ast.walk(tree))


def calls(tree):
    return [node for node in nodes(tree) if isinstance(node, ast.Call)]


@functools.cache
def imports(tree):
    """Dotted names of all imports of a module, also inside functions."""
    found = []
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def packages(tree):
    return {name.partition(".")[0] for name in imports(tree)}


def dotted(node):
    """'np.random.normal' for the expression, '' for anything but a chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def called(tree):
    return {dotted(call.func) for call in calls(tree)}


def except_for(*prefixes):
    return {name: tree for name, tree in TREES.items() if not name.startswith(prefixes)}


def test_imports_point_one_way():
    assert {"search", "engine", "vision", "cnn", "target", "utils", "optimizer", "main"} <= OURS
    assert {"deploy", "predict"} <= OURS
    for name, tree in TREES.items():
        rules = [rule for prefix, rule in MAY_IMPORT.items() if name.startswith(prefix)]
        assert rules, f"no rule for {name}"
        if rules[0] is not None:
            allowed = tuple(f"{path}." for path in rules[0])
            ours = {path for path in imports(tree) if path.partition(".")[0] in OURS}
            wrong = sorted(path for path in ours if not f"{path}.".startswith(allowed))
            assert not wrong, f"{name} imports {', '.join(wrong)}"


def test_torch_and_onnx_are_imported_where_they_are_needed():
    """ONNX may be absent: it is imported inside functions only."""
    for name, tree in except_for(*MAY_IMPORT_TORCH).items():
        assert not packages(tree) & {"torch", "torchvision", "safetensors"}, name
    for name, tree in except_for("deploy/", "predict.py", "benchmarks/problems/").items():
        assert not packages(tree) & {"onnx", "onnxruntime"}, name
    for name, tree in TREES.items():
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not packages(ast.Module(top, [])) & {"onnx", "onnxruntime"}, name


def test_prediction_needs_three_packages():
    """predict.py runs on machines that have no other file of the project."""
    foreign = packages(TREES["predict.py"]) - sys.stdlib_module_names
    assert foreign == {"onnxruntime", "numpy", "PIL"}


def test_only_main_opens_the_test_split():
    for name, tree in except_for("vision/").items():
        names = {node.id for node in nodes(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in nodes(tree) if isinstance(node, ast.Attribute)}
        names |= {name.rpartition(".")[2] for name in imports(tree)}
        assert ("open_test" in names) == (name == "main.py"), name
        if name not in ("main.py", "target.py"):  # nor indirectly
            assert not {"train_test", "_open", "list_files"} & names, name


def test_deciding_has_no_clock_no_output_and_writes_nothing():
    written = {"write_text", "write_bytes", "open", "mkdir", "touch", "unlink", "rename", "print"}
    deciding = {name: tree for name, tree in TREES.items() if name.startswith("search/")}
    for name, tree in deciding.items():
        foreign = packages(tree) & SIDE_EFFECTS
        assert foreign <= ({"pathlib"} if name == "search/space.py" else set()), foreign
        assert not {path.rpartition(".")[2] for path in called(tree)} & {*written, "input"}, name
        names = {path.rpartition(".")[2] for path in imports(tree)}
        assert not names & {"write_json", "write_text", "read_json"}, "files are for engine/"


# Random methods and functions of torch; each takes a generator of its own.
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "normal_", "uniform_", "bernoulli"}
DRAWS |= {"bernoulli_", "multinomial", "random_", "exponential_", "log_normal_", "cauchy_"}
DRAWS |= {"rand_like", "randn_like", "randint_like", "geometric_"}


def test_no_global_random_stream():
    """Ruff checks the legacy functions of numpy (NPY002)."""
    for name, tree in TREES.items():
        assert not packages(tree) & {"random", "secrets"}, "use utils.derive_rng"
        draws = DRAWS if "torch" in packages(tree) else set()
        for call in calls(tree):
            path, place = dotted(call.func), f"{name}:{call.lineno}"
            assert not path.startswith(("torch.manual_seed", "torch.seed", "torch.random")), place
            assert not path.startswith("torch.cuda.manual_seed"), place
            if path in ("np.random.default_rng", "np.random.RandomState"):
                assert call.args, f"{place}: a generator without a seed"
            if path.rpartition(".")[2] in draws and "." in path:
                given = {keyword.arg for keyword in call.keywords}
                assert "generator" in given, f"{place}: {path} without a generator"


def test_modules_and_functions_are_short():
    for name, path in MODULES.items():
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= MAX_MODULE, f"{name} has {lines} lines: it is two things"
        for function in (n for n in nodes(TREES[name]) if isinstance(n, ast.FunctionDef)):
            length = function.end_lineno - function.lineno + 1
            assert length <= MAX_FUNCTION, f"{name}: {function.name} has {length} lines"


def test_nothing_happens_at_import_time():
    """An example is a script, which sets the path of the packages before it imports them."""
    kinds = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Assign
    kinds |= ast.AnnAssign | ast.AugAssign
    for name, tree in except_for("examples/").items():
        for node in tree.body:
            main = isinstance(node, ast.If) and "__main__" in ast.dump(node.test)
            plain = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assert main or plain or isinstance(node, kinds), f"{name}:{node.lineno}"


def test_the_arguments_are_right_before_torch_is_loaded():
    """The commands report a wrong flag at once, without loading torch."""
    code = "import sys, main, optimizer; optimizer.main(['--seed', 'x']);"
    code += "sys.exit('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr == "optimizer.py: --seed: 'x' is not a whole number\n"


def test_the_repository_stands_alone_and_no_merge_was_left_half_done():
    """Only .ci/run may name the images beside the repository."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not in a git repository")
    word = ("shared/" + "micro").encode()
    marks = (b"<" * 7 + b" ", b">" * 7 + b" ")
    for name in listing.stdout.splitlines():
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        assert name == ".ci/run" or word not in content, name
        assert not any(line.startswith(marks) for line in content.splitlines()), name
