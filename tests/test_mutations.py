"""Bugs planted on purpose: each must be caught by the tests that are named for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LESSON_04 = "notebooks/04_sliding_window.ipynb"

# file, what stands there, the bug, the checks that must fail
MUTATIONS = [
    ("np/mask.py", "distance < window", "distance <= window", ["tests/test_mask.py", LESSON_04]),
    ("pt/mask.py", "distance < window", "distance <= window", ["tests/test_mask.py", LESSON_04]),
    ("np/mask.py", "(distance >= 0)", "(distance > 0)", ["tests/test_mask.py"]),
    ("np/mask.py", "(k_pos >= 0) & ", "", ["tests/test_mask.py"]),
    ("np/mask.py", ".astype(np.int64)", "", ["tests/test_mask.py"]),
    ("np/attention.py", " * D**-0.5", "", ["tests/test_attention.py"]),
    ("pt/attention.py", " * D**-0.5", " / D", ["tests/test_attention.py"]),
    ("np/attention.py", "scores - np.where(top > -np.inf, top, 0)", "scores",
     ["tests/test_attention.py"]),
    ("np/attention.py", "np.where(mask, scores, -np.inf)", "np.where(mask, scores, 0)",
     ["tests/test_attention.py"]),
    ("pt/attention.py", "scores.reshape(B, G, H // G, T, S), mask)",
     "scores.reshape(B, G, T, H // G, S).swapaxes(2, 3), mask)", ["tests/test_attention.py"]),
    ("np/rope.py", "even * cos - odd * sin", "even * cos + odd * sin",
     ["tests/test_layer_parts.py"]),
    ("np/norm.py", "mean_square + eps", "mean_square", ["tests/test_layer_parts.py"]),
    ("pt/feedforward.py", "silu(x @ w1.T) * (x @ w3.T)", "silu(x @ w3.T) * (x @ w1.T)",
     ["tests/test_layer_parts.py"]),
    ("config.py", "kv_dim = self.n_heads * self.head_dim, self.n_kv_heads",
     "kv_dim = self.n_heads * self.head_dim, self.n_heads", ["tests/test_config.py"]),
    ("widgets/explorers.py", "window_mask(positions, positions, W)",
     "window_mask(positions, positions, W + (W == 9))", ["tests/test_explorers.py", LESSON_04]),
]  # fmt: skip


def copy_with_bug(folder, file, right, wrong):
    """A copy of the package in `folder`, with one bug."""
    shutil.copytree(ROOT / "minimistral", folder / "minimistral")
    path = folder / "minimistral" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(right) == 1, f"{right!r} stands {text.count(right)} times in {file}"
    path.write_text(text.replace(right, wrong), encoding="utf-8")


def run(check, package):
    """pytest's exit code for one check against the package in another folder."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    command = [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += [check, "--nbval" if check.endswith(".ipynb") else "--hypothesis-profile=find"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "right", "wrong", "checks"),
    MUTATIONS,
    ids=[f"{mutation[0]}-{n}" for n, mutation in enumerate(MUTATIONS)],
)
def test_a_planted_bug_is_caught(tmp_path, file, right, wrong, checks):
    copy_with_bug(tmp_path, file, right, wrong)
    for check in checks:
        result = run(check, tmp_path)
        assert result.returncode == 1, f"{check} did not fail:\n{result.stdout[-2000:]}"
        assert "1 failed" in result.stdout


@pytest.mark.slow
def test_without_a_bug_the_copy_passes(tmp_path):
    """Otherwise the failures above would prove nothing."""
    copy_with_bug(tmp_path, "np/mask.py", "distance < window", "window > distance")
    for check in ("tests/test_mask.py", LESSON_04):
        assert run(check, tmp_path).returncode == 0
