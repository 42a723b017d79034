"""`minimistral train` is killed: the model of before can be read, and the run goes on."""

import re
import shutil
import tempfile
from pathlib import Path

import pytest
from killed import KILLED, Workshop, linux, moments

from minimistral import ModelConfig, cli, tokenizer
from minimistral import np as mm
from minimistral.training import corpus
from minimistral.training.state import STATE_FILE

pytestmark = linux
CONFIG = ModelConfig(
    dim=32, n_layers=2, head_dim=8, hidden_dim=64, n_heads=4, n_kv_heads=2,
    window_size=8, context_len=64, vocab_size=300,
)  # fmt: skip
TEXTS = ("the cat sat on the mat. " * 40 + "a dog ran by.\n" * 20, "the dog sat on the cat.\n")
N_STEPS = 12
SETTINGS = (f"--steps {N_STEPS} --batch-size 2 --seq-len 16 --checkpoint-every 1 --average 2"
            " --threads 1").split()  # fmt: skip


def prepare():
    """In the process from which those to be killed are forked."""
    corpus.split = lambda: TEXTS
    ModelConfig.tiny = classmethod(lambda cls: CONFIG)
    with tempfile.TemporaryDirectory() as folder:  # once, for all that torch imports
        command(Path(folder) / "m")


def command(folder, *words):
    """In a process of its own."""
    return cli.main(["train", "--out", str(folder), *SETTINGS, *map(str, words)])


@pytest.fixture(scope="module")
def workshop():
    with Workshop(__file__) as workshop:
        yield workshop


def bytes_of(folder):
    return {name: weight.tobytes() for name, weight in mm.load(folder).weights.items()}


def found_in(folder):
    """The weights that can be read: in the folder, or where the error says that they are."""
    try:
        return bytes_of(folder)
    except FileNotFoundError as error:
        kept = re.search(r"the files that were there before are in (\.saving-\w+/old)$", str(error))
        assert kept, error
        return bytes_of(folder / kept[1])


@pytest.fixture(scope="module")
def whole(workshop, tmp_path_factory):
    """What two runs give that nothing stops, by seed, and the seconds that one takes."""
    root, weights, seconds = tmp_path_factory.mktemp("whole"), {}, []
    for seed in (1, 2, 2):
        folder = root / str(len(seconds))
        code, printed, taken = workshop.do("command", folder, "--seed", seed)
        assert code == 0, printed
        weights[seed] = bytes_of(folder), bytes_of(folder / "averaged")
        seconds.append(taken)
    assert weights[1] != weights[2]
    return root / "0", weights, min(seconds)


def goes_on(workshop, folder, whole):
    """Resume a run, or start it again where it had no checkpoint; whether it was resumed."""
    code, printed, _ = workshop.do("command", folder, "--seed", 2, "--resume")
    resumed = code == 0
    if not resumed:
        assert code == 1 and f"has no {STATE_FILE}" in printed
        code, printed, _ = workshop.do("command", folder, "--seed", 2, "--overwrite")
    assert code == 0, printed
    assert (bytes_of(folder), bytes_of(folder / "averaged")) == whole[1][2]
    # A killed process leaves temporary files, whose names begin with a dot.
    assert {file.name for file in folder.iterdir() if not file.name.startswith(".")} == {
        "params.json", "consolidated.safetensors", "tokenizer.model", "training.json", "averaged",
    }  # fmt: skip
    return resumed


@pytest.mark.rare
@pytest.mark.parametrize("held", [False, True])
def test_a_training_that_is_killed(workshop, whole, tmp_path, held):
    """Several times, at moments spread over a run: in an empty folder, and over another model."""
    finished, weights, seconds = whole
    words = ["--seed", 2, *["--overwrite"] * held]
    n_resumed = 0
    for n, after in enumerate(moments(seconds, seed=held)):
        code = 0
        while code == 0:  # again, and earlier, until it is killed
            folder = tmp_path / f"{n} {after}"
            if held:
                shutil.copytree(finished, folder)
            code, printed, _ = workshop.do("command", folder, *words, after=after)
            after *= 0.7
        assert code == KILLED, printed
        if held:
            assert found_in(folder) in (weights[1][0], weights[2][0])
            tokenizer.load(folder)
        n_resumed += goes_on(workshop, folder, whole)
    assert n_resumed > 0  # otherwise nothing was proved


@pytest.mark.rare
def test_before_each_move_of_a_file_at_the_end(workshop, whole, tmp_path):
    """While the new model takes the place of the old one."""
    finished, weights, _ = whole
    seen = []
    for n in range(N_STEPS - 1, 100):  # each step has moved the state
        folder = tmp_path / str(n)
        shutil.copytree(finished, folder)
        code, printed, _ = workshop.do("command", folder, "--seed", 2, "--overwrite", at_move=n)
        assert code in (0, KILLED), printed
        seen.append(found_in(folder) == weights[2][0])
        assert seen[-1] or found_in(folder) == weights[1][0]
        tokenizer.load(folder)
        if not (folder / STATE_FILE).exists():  # it is complete, and only reports
            break
        assert goes_on(workshop, folder, whole)
    assert seen == sorted(seen) and seen[-1] and not seen[0] and len(seen) > 9
