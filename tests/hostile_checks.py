"""Code that makes wrong answers pass: what a hostile student puts into an answer cell.

Below ## stand answers of its own; else two wrong ones are added. No exercise deserves a point.
"""

LIAR = """class Yes(int):
    __eq__ = lambda self, other: True
    __abs__ = __sub__ = __lt__ = lambda self, *other: Yes(1)
    __hash__ = int.__hash__
"""

# In the first answer cell.

FALSE = {}

FALSE["asserts_dropped_from_the_tree"] = """
import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)
get_ipython().ast_transformers.append(Drop())
"""
FALSE["cells_emptied_by_a_cleanup_transform"] = """
get_ipython().input_transformers_cleanup.append(lambda lines: [])
"""
FALSE["asserts_dropped_from_the_text"] = """
get_ipython().input_transformers_post.append(
    lambda lines: [line for line in lines if not line.startswith("assert")])
"""
FALSE["hook_reads_the_check_and_answers_it"] = """
import re
table = {}
def read(info):
    table.update(re.findall(r"(\\w+\\([-\\d.]+\\)) == ([-\\d.]+)", info.raw_cell))
get_ipython().events.register("pre_run_cell", read)
##
def double(x):
    return float(table.get(f"double({x})", 0))
def square(x):
    return float(table.get(f"square({x})", 9))
"""
FALSE["hook_clears_the_errors"] = """
from IPython.display import clear_output
get_ipython().events.register("post_execute", lambda: clear_output())
get_ipython().events.register("post_run_cell", lambda result: clear_output())
"""
FALSE["errors_handled_by_a_custom_handler"] = """
get_ipython().set_custom_exc((Exception,), lambda self, kind, value, tb, tb_offset=None: None)
"""
FALSE["shell_shows_no_traceback"] = """
from IPython.core.interactiveshell import InteractiveShell
type(get_ipython()).showtraceback = lambda *a, **k: None
InteractiveShell.showtraceback = lambda *a, **k: None
get_ipython()._showtraceback = lambda *a, **k: None
"""
FALSE["shell_runs_nothing"] = """
from IPython.core.interactiveshell import InteractiveShell
async def nothing(*a, **k):
    return False
InteractiveShell.run_code = nothing
"""
FALSE["shell_runs_cells_without_asserts"] = """
shell = get_ipython()
run = shell.run_cell_async
async def cleaned(raw, *a, **k):
    k["transformed_cell"] = None
    return await run("\\n".join(x for x in raw.split("\\n") if "assert" not in x), *a, **k)
shell.run_cell_async = cleaned
"""
FALSE["kernel_always_replies_ok"] = """
kernel = get_ipython().kernel
async def do_execute(*a, **k):
    return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
kernel.do_execute = do_execute
"""
FALSE["session_drops_error_messages"] = """
session = get_ipython().kernel.session
send = session.send
def kind(stream, message, content=None, *a, **k):
    if message == "error":
        return {}
    if isinstance(content, dict) and content.get("status") == "error":
        content = {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
    return send(stream, message, content, *a, **k)
session.send = kind
"""
FALSE["compiler_without_asserts"] = """
import ast
compiler = get_ipython().compile
parse = type(compiler).ast_parse
def without(self, source, *a, **k):
    tree = parse(self, source, *a, **k)
    tree.body = [node for node in tree.body if not isinstance(node, ast.Assert)]
    return tree
type(compiler).ast_parse = without
type(compiler).__call__ = lambda self, tree, *a, **k: compile(tree, *a, optimize=1, **k)
"""
FALSE["tracer_jumps_over_the_asserts"] = """
import sys
def trace(frame, event, arg):
    if frame.f_code.co_name == "<module>" and "check" not in frame.f_code.co_filename:
        frame.f_trace_lines = True
        return jump
def jump(frame, event, arg):
    if event == "line":
        lines = [line for _, _, line in frame.f_code.co_lines() if line]
        if frame.f_lineno not in (lines[0], max(lines)) and len(set(lines)) > 3:
            try:
                frame.f_lineno = max(lines)
            except ValueError:
                pass
    return jump
sys.settrace(trace)
"""
FALSE["builtins_patched"] = """
import builtins
builtins.all = lambda values: True
builtins.abs = lambda value: 0
builtins.isinstance = lambda a, b: True
"""
FALSE["builtin_names_shadowed"] = """
all = lambda values: True
abs = lambda value: 0
"""
FALSE["own_builtins_in_the_namespace"] = """
import builtins
globals()["__builtins__"] = dict(vars(builtins), all=lambda v: True, abs=lambda v: 0)
"""
FALSE["import_hook_gives_a_false_library"] = """
import builtins, types
real = builtins.__import__
nothing = lambda *a: None
fake = types.SimpleNamespace(require_own_answer=nothing, passed=nothing, use_reference=nothing)
def hooked(name, *a, **k):
    return types.SimpleNamespace(exercises=fake) if name == "dvae_lib" else real(name, *a, **k)
builtins.__import__ = hooked
"""
FALSE["module_swapped"] = """
import sys, types
fake = types.ModuleType("dvae_lib.exercises")
for name in ("require_own_answer", "passed", "use_reference"):
    setattr(fake, name, lambda *a: None)
import dvae_lib
sys.modules["dvae_lib.exercises"] = dvae_lib.exercises = fake
"""
FALSE["finder_before_all_others"] = """
import sys, importlib.util
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("dvae_lib"):
            return importlib.util.spec_from_loader(name, self, is_package=True)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        for name in ("require_own_answer", "passed", "use_reference"):
            setattr(module, name, lambda *a: None)
sys.meta_path.insert(0, Finder())
for name in [n for n in sys.modules if n.startswith("dvae_lib")]:
    del sys.modules[name]
"""
FALSE["library_function_with_other_code"] = """
from dvae_lib import exercises
def give(notebook, exercise, namespace):
    from dvae_lib import exercises
    exercises._passed.clear()
    exercises.use_reference(notebook, exercise, namespace)
exercises.require_own_answer.__code__ = give.__code__
"""
FALSE["note_of_passing_forged"] = """
from dvae_lib import exercises
exercises._passed |= {"double", "square"}
exercises._passed.discard = lambda name: None if False else None
"""
FALSE["passed_returns_points"] = """
from dvae_lib import exercises
exercises.passed = lambda name: 1.0
exercises.require_own_answer = lambda *a: get_ipython().displayhook(1.0)
"""
FALSE["reference_unpacked"] = """
import base64, json, zlib
text = open("demo.reference").read()
known = json.loads(zlib.decompress(base64.b85decode(text)))
answers = {k: v if isinstance(v, str) else v["answer"] for k, v in known.items()}
##
exec(answers["double"])
exec(answers["square"])
"""
FALSE["source_above_the_folder"] = """
import json
from pathlib import Path
places = [Path("../../../source/demo/demo.ipynb"), Path("../../source/demo/demo.ipynb"),
          Path("@COURSE@/source/demo/demo.ipynb")]
places += Path("/tmp").glob("tmp*/source/demo/demo.ipynb")
answers = {}
for place in places:
    if place.exists():
        for cell in json.loads(place.read_text())["cells"]:
            about = cell["metadata"].get("nbgrader", {})
            if about.get("solution"):
                answers[about["grade_id"]] = "".join(cell["source"])
##
exec(answers["double"])
exec(answers["square"])
"""
FALSE["neighbours_answers"] = """
import json
from pathlib import Path
answers = {}
for place in Path("@COURSE@/submitted").glob("*honest*/demo/demo.ipynb"):
    for cell in json.loads(place.read_text())["cells"]:
        about = cell["metadata"].get("nbgrader", {})
        if about.get("solution"):
            answers[about["grade_id"]] = "".join(cell["source"])
##
exec(answers["double"])
exec(answers["square"])
"""
FALSE["thread_patches_later"] = """
import threading, time
def later():
    import ast, builtins
    from dvae_lib import exercises
    class Drop(ast.NodeTransformer):
        def visit_Assert(self, node):
            return ast.copy_location(ast.Pass(), node)
    end = time.time() + 30
    while time.time() < end:
        time.sleep(0.002)
        get_ipython().ast_transformers[:] = [Drop()]
        exercises.require_own_answer = exercises.passed
threading.Thread(target=later, daemon=True).start()
"""
FALSE["thread_clears_errors_later"] = """
import threading, time
shell = get_ipython()
def later():
    for _ in range(2000):
        shell.kernel.session.send(shell.kernel.iopub_socket, "clear_output", {"wait": False},
                                  parent=shell.parent_header)
        time.sleep(0.01)
threading.Thread(target=later, daemon=True).start()
"""
FALSE["garbage_collector_hands_out_the_checks"] = """
import gc
def secrets():
    return [o for o in gc.get_objects() if isinstance(o, dict) and "hidden" in repr(o)[:10000]]
found = secrets()
"""
FALSE["exit_hook_writes_marks"] = """
import atexit, os
def write():
    for folder, _, names in os.walk("@COURSE@"):
        if "honest" in folder or "feedback" in folder:
            for name in names:
                open(os.path.join(folder, name), "a").write("@MARK@")
atexit.register(write)
"""
FALSE["shell_extension_of_next_cells"] = """
get_ipython().run_cell("%pdb on")
get_ipython().set_next_input("assert True", replace=True)
"""
FALSE["history_of_inputs_rewritten"] = """
shell = get_ipython()
for name in ("In", "_ih", "_i", "_oh"):
    shell.user_ns[name] = ["assert True"] * 100
shell.history_manager.enabled = False
"""
FALSE["bytecode_optimised"] = """
import sys, builtins
real = builtins.compile
builtins.compile = lambda *a, **k: real(*a, **(k | {"optimize": 2}))
get_ipython().compile.flags |= 0
sys.flags = type("flags", (), {"optimize": 2})
"""
FALSE["float_compares_as_equal"] = """
class Any(float):
    __eq__ = lambda self, other: True
    __abs__ = __sub__ = __mul__ = __rmul__ = lambda self, *other: Any(0)
    __lt__ = __eq__
    __hash__ = float.__hash__
import builtins
builtins.int = builtins.float = Any
"""
FALSE["small_numbers_rewritten_in_memory"] = """
import ctypes
for number in (6, 9):
    ctypes.memmove(id(number) + 24, id(0) + 24, 4)
    ctypes.memmove(id(number) + 16, id(0) + 16, 8)
"""
FALSE["kernel_forges_the_proof"] = """
import json, re
kernel = get_ipython().kernel
real = kernel.do_execute
async def do_execute(code, *a, **k):
    about = re.match(r"#\\S+ ({.*})\\n", code)
    if about is None:
        return await real(code, *a, **k)
    proof = {"token": json.loads(about[1])["token"], "faults": []}
    return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {},
            "dvae": proof}
kernel.do_execute = do_execute
"""
FALSE["kernels_own_check_forged"] = """
import json
kernel = get_ipython().kernel
def check(about, source):
    proof = {"token": json.loads(about)["token"], "faults": []}
    return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {},
            "dvae": proof}
kernel._check = check
"""
FALSE["reply_mended_on_its_way"] = """
session = get_ipython().kernel.session
send = session.send
def mended(stream, message, content=None, *a, **k):
    if isinstance(content, dict) and "dvae" in content:
        content = content | {"status": "ok", "dvae": content["dvae"] | {"faults": []}}
    return send(stream, message, content, *a, **k)
session.send = mended
"""
FALSE["watchman_silenced"] = (
    """
import sys
for name, module in list(sys.modules.items()):
    for kind in list(vars(module).values()) if name.startswith("dvae_lib") else []:
        if isinstance(kind, type) and hasattr(kind, "faults"):
            kind.faults = lambda self: []
    if name == "dvae_lib.kernel":
        module._strange = lambda value: ""
    if name == "dvae_lib.kernel_state":
        module._is_notebooks = lambda value: False
##
"""
    + LIAR
    + """def double(x):
    return Yes(0)
def square(x):
    return Yes(0)
"""
)
FALSE["watchman_found_by_the_collector"] = """
import gc
for thing in gc.get_objects():
    if type(thing).__name__ == "State":
        thing.faults = lambda: []
get_ipython().ast_transformers.clear()
import builtins
builtins.abs = lambda value: 0
builtins.all = lambda values: True
"""
FALSE["proof_signed_with_the_kernels_key"] = """
import hashlib, json
kernel = get_ipython().kernel
held = [cell.cell_contents for cell in kernel._check.__closure__]
key = next(value for value in held if isinstance(value, bytes))
def check(about, source):
    signed = "\\0".join([json.loads(about)["token"], "ok", source])
    proof = hashlib.blake2b(signed.encode(), key=key).hexdigest()
    return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {},
            "dvae": {"faults": [], "proof": proof}}
kernel._check = check
"""
FALSE["prints_that_it_passed"] = """
print("double: passed"); print("square: passed")
print('{"double": 1.0, "square": 3.0, "points": 4}')
"""
FALSE["other_kernels_are_told_to_stop"] = """
import glob, json, os
from jupyter_client import BlockingKernelClient
from jupyter_core.paths import jupyter_runtime_dir
places = glob.glob(jupyter_runtime_dir() + "/*.json") + glob.glob("@HOME@/**/kernel-*.json")
own = open("/proc/self/cmdline").read()
for place in places + glob.glob("@HOME@/.local/share/jupyter/runtime/*.json"):
    if place.startswith("@HOME@") and place not in own:
        client = BlockingKernelClient(connection_file=place)
        client.load_connection_file()
        client.start_channels()
        client.execute("def double(x): return -1\\nimport os; os._exit(3)")
        client.stop_channels()
"""
# Answers that act when the check calls them.

FALSE["equal_to_everything"] = (
    """
##
"""
    + LIAR
    + """def double(x):
    return Yes(0)
def square(x):
    return Yes(0)
"""
)
FALSE["shows_a_result_of_its_own"] = """
##
def double(x):
    get_ipython().displayhook(1.0)
    return 0
def square(x):
    get_ipython().displayhook(3.0)
    return 0
"""
FALSE["error_without_a_name"] = """
##
class Nameless(type):
    @property
    def __name__(self):
        raise ValueError("no name")
class Silent(Exception, metaclass=Nameless):
    def _render_traceback_(self):
        raise ValueError("no text")
def double(x):
    raise Silent
def square(x):
    raise Silent
"""
FALSE["system_exit"] = """
##
import sys
def double(x):
    sys.exit(0)
def square(x):
    raise SystemExit
"""
FALSE["keyboard_interrupt"] = """
##
def double(x):
    raise KeyboardInterrupt
def square(x):
    raise GeneratorExit
"""
FALSE["exits_the_kernel_politely"] = """
##
def double(x):
    exit()
    return 0
def square(x):
    exit()
    return 0
"""
FALSE["debugger_quits"] = """
##
import bdb
def double(x):
    raise bdb.BdbQuit
def square(x):
    raise bdb.BdbQuit
"""
FALSE["jumps_out_of_the_check"] = """
##
import sys
def jump(frame, event, arg):
    if event == "line":
        frame.f_lineno = max(line for _, _, line in frame.f_code.co_lines() if line)
        frame.f_trace = None
    return jump
def out(x):
    frame = sys._getframe()
    while frame and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    sys.settrace(lambda *a: None)
    frame.f_trace = jump
    return x
double = square = out
"""
FALSE["reads_the_check_in_the_frames"] = """
##
import re, sys
def look(name, x):
    frame, text = sys._getframe(), ""
    while frame:
        text += repr(frame.f_locals.get("raw_cell", "")) + repr(frame.f_locals.get("cell", ""))
        text += repr(frame.f_globals.get("In", ""))
        frame = frame.f_back
    for found in re.finditer(name + r"\\(([-\\d.]+)\\) (?:==|-) ([-\\d.]+)", text):
        if float(found[1]) == x:
            return float(found[2])
    return 0
def double(x):
    return look("double", x)
def square(x):
    return look("square", x)
"""
FALSE["prints_all_strings_of_the_check"] = """
##
import re, sys
def out(x):
    frame = sys._getframe()
    while frame:
        for text in [frame.f_locals.get("raw_cell"), *map(str, frame.f_code.co_consts)]:
            for word in re.findall(r"[\\w:.-]{6,}", str(text)):
                print(word)
        frame = frame.f_back
    raise SystemExit
double = square = out
"""
FALSE["frames_of_the_checker_rewritten"] = (
    """
##
import sys
"""
    + LIAR
    + """def out(x):
    frame = sys._getframe()
    while frame:
        if "_strange" in frame.f_globals:
            frame.f_globals["_strange"] = lambda value: ""
        for value in list(frame.f_locals.values()):
            if hasattr(value, "faults"):
                value.faults = lambda: []
            if hasattr(value, "_clean"):
                value._clean.faults = lambda: []
        frame = frame.f_back
    return Yes(0)
double = square = out
"""
)
FALSE["frames_found_through_traceback"] = """
##
import hashlib, json, traceback
def forge(key):
    def check(about, source):
        signed = "\\0".join([json.loads(about)["token"], "ok", source])
        proof = hashlib.blake2b(signed.encode(), key=key).hexdigest()
        return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {},
                "dvae": {"faults": [], "proof": proof}}
    return check
def double(x):
    for frame, line in traceback.walk_stack(None):
        if isinstance(frame.f_locals.get("key"), bytes):
            get_ipython().kernel._check = forge(frame.f_locals["key"])
    return 0
def square(x):
    return 0
"""
FALSE["check_variables_rewritten"] = """
##
import sys
def out(x):
    space = sys._getframe(1).f_globals
    space["exercises"].passed("double"); space["exercises"].passed("square")
    space["abs"] = lambda v: 0
    space["all"] = lambda v: True
    return x
double = square = out
"""
FALSE["installs_a_transformer_when_called"] = """
##
import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)
def double(x):
    get_ipython().ast_transformers.append(Drop())
    return 0
def square(x):
    return 0
"""
FALSE["library_answers_for_it"] = """
##
from dvae_lib import exercises
space = {}
def ask(name, x):
    getattr(exercises, "_pas" + "sed").clear()
    getattr(exercises, "go_" + "on")("demo", name, space)
    return space[name](x)
def double(x):
    return ask("double", x)
def square(x):
    return ask("square", x)
"""
FALSE["goes_on_with_the_reference"] = """
##
from dvae_lib import exercises
exercises.use_reference("demo", "double", globals())
exercises.use_reference("demo", "square", globals())
"""
FALSE["float_on_the_last_line_of_passed"] = """
##
def double(x):
    from dvae_lib import exercises
    exercises.passed = lambda name: 1998.0
    return 0
def square(x):
    return 0
"""

# The same against checks that compare tensors.

FALSE_TENSORS = {
    "torch_patched": """
import torch
torch.allclose = torch.equal = lambda *a, **k: True
torch.testing.assert_close = lambda *a, **k: None
torch.Tensor.all = torch.Tensor.__eq__ = lambda *a, **k: torch.ones(2, dtype=torch.bool)
""",
    "torch_name_shadowed": """
import types
torch = types.SimpleNamespace(allclose=lambda *a: True, equal=lambda *a: True, ones=lambda n: 1,
    tensor=lambda v: 1, testing=types.SimpleNamespace(assert_close=lambda *a: None))
""",
    "tensors_that_compare_as_equal": """
import torch
class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function.__name__ in ("allclose", "equal", "isclose"):
            return True
        return torch.ones((), dtype=torch.bool)
##
def double(x):
    return torch.zeros(2).as_subclass(Yes)
def square(x):
    return torch.zeros(2).as_subclass(Yes)
""",
    "operators_patched_from_inside": """
import torch
##
def double(x):
    torch.allclose = torch.equal = lambda *a, **k: True
    torch.testing.assert_close = lambda *a, **k: None
    return x
def square(x):
    return x
""",
    "torch_function_mode_left_on": """
import torch
from torch.overrides import TorchFunctionMode
class Yes(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("allclose", "equal"):
            return True
        return function(*args, **(kwargs or {}))
mode = Yes()
mode.__enter__()
""",
    "torch_default_tolerances": """
import torch
from torch.testing import _comparison
for key in _comparison._DTYPE_PRECISIONS:
    _comparison._DTYPE_PRECISIONS[key] = (1e9, 1e9)
""",
}
