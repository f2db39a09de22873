"""Files: what was saved before survives a full disk, and damage is named."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from full_disk import WRITERS

from dvae_lib import files


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_names_the_file_and_harms_nothing(runs):
    """Results, saved codes and a checkpoint; nothing temporary is left either."""
    for write in WRITERS:
        write(runs)
    before = content(runs)
    script = Path(__file__).with_name("full_disk.py")
    done = subprocess.run([sys.executable, script, runs], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert content(runs) == before
    errors = [line for line in done.stdout.splitlines() if "goes on from step" not in line]
    for name, error in zip(("results.json", "encoder.pt2", "run.safetensors"), errors, strict=True):
        assert f"{name} (" in error
        assert "File too large" in error
        assert "Free some space, or set DVAE_RUNS" in error


def test_a_failure_midway_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "deep" / "value.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path) == {"a": 1}
    assert list(path.parent.iterdir()) == [path]


def test_what_is_flushed_is_open_for_writing(tmp_path, monkeypatch):
    """Windows refuses to flush a file that is open for reading alone."""
    fcntl = pytest.importorskip("fcntl")
    access = []
    monkeypatch.setattr(
        "os.fsync", lambda number: access.append(fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE)
    )
    files.write_json(tmp_path / "value.json", {"a": 1})
    assert access == [os.O_RDWR]


def test_text_is_the_same_whatever_the_machine_speaks(tmp_path):
    """Under a locale of ASCII alone, where Python would else read and write ASCII."""
    script = (
        "import sys\nfrom dvae_lib import files\n"
        "files.write_json(sys.argv[2], files.read_json(sys.argv[1]))\n"
        "print(ascii(files.read_json(sys.argv[2])))"
    )
    given, made = tmp_path / "given.json", tmp_path / "made.json"
    given.write_text('{"β": "ünïcode"}', encoding="utf-8")
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", script, given, made]
    done = subprocess.run(
        command, env=os.environ | ascii_alone, capture_output=True, text=True, check=True
    )
    assert ast.literal_eval(done.stdout) == {"β": "ünïcode"}
    assert files.read_json(made) == {"β": "ünïcode"}


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_fix(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"value\.json .*set DVAE_RUNS"):
        files.write_json(tmp_path / "file" / "value.json", 1)


@pytest.mark.parametrize("text", ["", '{"a": ', "\xff\xfe", "[]", "3", "null"])
def test_damaged_json_is_an_error_that_names_the_file(tmp_path, text):
    path = tmp_path / "value.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"value\.json is damaged .*; delete it and run again"):
        files.read_json(path)
